"""The address and the TLS files; nothing is sent."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from intaglio_client import Client
from intaglio_client.errors import Unusable
from intaglio_client.transport import base_path

from .conftest import certificate


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("https://sign.example:8443", "https://sign.example:8443/v2"),
        ("https://sign.example:8443/", "https://sign.example:8443/v2"),
        ("https://sign.example:8443/v2", "https://sign.example:8443/v2"),
        ("https://sign.example/v2/", "https://sign.example/v2"),
        ("https://sign.example/dss", "https://sign.example/dss/v2"),
        (" https://[::1]:8443 ", "https://[::1]:8443/v2"),
    ],
)
def test_the_base_url_may_end_in_the_version_or_not(given: str, path: str) -> None:
    assert str(base_path(given)) == path


@pytest.mark.parametrize("given", ["", "sign.example", "http://sign.example", "https://", "https://x:99999", "ftp://x"])
def test_another_base_url_is_refused(given: str) -> None:
    with pytest.raises(Unusable, match="base URL"):
        base_path(given)


def written(folder: Path, *, passphrase: bytes | None = None) -> tuple[Path, Path]:
    now = datetime.now(UTC)
    cert, key = folder / "client.pem", folder / "client.key"
    cert.write_text(certificate(now, now + timedelta(hours=1)))
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    other = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    return cert, key


def opened(cert: Path | None, key: Path | None, **more: Path) -> Client:
    return Client("https://x", api_key="k", api_secret="s", client_cert=cert, client_key=key, **more)  # type: ignore[arg-type]


def test_a_client_certificate_is_needed() -> None:
    with pytest.raises(Unusable, match="client certificate"):
        opened(None, None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"nowhere\.pem.*No such file"):
        opened(tmp_path / "nowhere.pem", None)
    with pytest.raises(Unusable, match=r"server CA .*none\.pem"):
        opened(None, None, server_ca=tmp_path / "none.pem")


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="does not belong"):
        opened(*written(tmp_path))


def test_a_missing_passphrase_is_told_and_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="passphrase"):
        opened(*written(tmp_path, passphrase=b"sesame"))
