"""A PDF signed for the long term through the real service, judged by pyHanko's command line and by pdfsig."""

import json
from pathlib import Path

import pytest

from served import BIN, Partner, Served, run

CONTRACT = Path(__file__).parents[2] / "examples/contract/contract.pdf"


def connection(partner: Partner, served: Served) -> tuple[str | Path, ...]:
    folder = partner.folder
    return (
        "--base-url", f"https://localhost:{served.api_port}", "--credentials", folder / "credentials.json",
        "--client-cert", folder / "client.crt", "--client-key", folder / "client.key",
        "--server-ca", served.home / "tls/server-ca.crt",
    )  # fmt: skip


@pytest.mark.parametrize("level", ["B-B", "B-T", "B-LT", "B-LTA"])
def test_a_contract_is_signed_and_lasts(individual: Partner, served: Served, tmp_path: Path, level: str) -> None:
    signed = tmp_path / "signed.pdf"
    identity = ("--cn", "John Doe", "--country", "GB", "--level", level)
    run(BIN / "intaglio-client", "sign", CONTRACT, signed, *identity, *connection(individual, served))
    if level in {"B-LT", "B-LTA"}:
        # Offline, with only the root trusted: at once, when the certificate has just ended, and long after.
        for later in ("now", "+20 minutes", "+1 day", "+170 days"):
            judge = ("faketime", later, BIN / "intaglio-client", "verify", signed)
            report = run(*judge, "--trust", served.home / "pki/root.crt", "--json")
            assert f'"{level}"' in report.stdout.decode(), later
            assert '"VALID"' in report.stdout.decode(), later
            json.loads(report.stdout)
    text = run("pdfsig", "-nocert", signed).stdout
    assert b"Signature is Valid" in text
    assert b"John Doe" in text
    # the control: one byte changed, and it is not
    content = bytearray(signed.read_bytes())
    place = content.index(b"stream") + 60
    content[place] ^= 1
    signed.write_bytes(content)
    assert run(
        BIN / "intaglio-client", "verify", signed, "--trust", served.home / "pki/root.crt", check=False
    ).returncode


def test_another_root_does_not_vouch(individual: Partner, served: Served, tmp_path: Path) -> None:
    signed = tmp_path / "signed.pdf"
    identity = ("--cn", "John Doe", "--country", "GB")
    run(BIN / "intaglio-client", "sign", CONTRACT, signed, *identity, *connection(individual, served))
    other = served.home / "pki/test-root.crt"
    assert run(BIN / "intaglio-client", "verify", signed, "--trust", other, check=False).returncode in {1, 3}


def test_a_refusal_names_the_field(individual: Partner, served: Served, tmp_path: Path) -> None:
    done = run(
        BIN / "intaglio-client", "sign", CONTRACT, tmp_path / "x.pdf", "--cn", "John Doe", "--country", "ZZ",
        *connection(individual, served), check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert b"subject_dn.country" in done.stderr + done.stdout
    assert not (tmp_path / "x.pdf").exists()
