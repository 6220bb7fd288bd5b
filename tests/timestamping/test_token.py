"""Tokens are read back: our own, those that openssl makes, and none of which a byte was changed."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from commands import run
from intaglio.errors import Malformed
from intaglio.timestamping.authority import Authority
from intaglio.timestamping.token import check_chain, opened
from intaglio.timestamping.tsp import sha256_imprint

IMPRINT = hashlib.sha256(b"what is stamped").digest()
NOW = datetime(2026, 11, 25, 12, 0, 0, 120_000, tzinfo=UTC)
CONFIGURATION = """
[tsa]
serial = {folder}/serial
default_policy = 1.2.3.4
digests = sha256
accuracy = secs:1
ess_cert_id_alg = {hash}
signer_digest = sha256
"""
EXTENSIONS = """
basicConstraints=critical,CA:FALSE
extendedKeyUsage=critical,timeStamping
"""


def test_our_own_tokens_are_read_back(authority: Authority, root: x509.Certificate) -> None:
    found = opened(authority.stamp(sha256_imprint(IMPRINT), 77, NOW, 12345))
    assert (found.time, found.serial, found.imprint, found.nonce) == (NOW, 77, IMPRINT, 12345)
    assert found.signer == authority.certificate
    check_chain(found, [root])
    with pytest.raises(Malformed):
        check_chain(found, [])


def test_no_byte_of_what_is_signed_can_be_changed(authority: Authority, root: x509.Certificate) -> None:
    token = authority.stamp(sha256_imprint(IMPRINT), 77, NOW)
    for place in range(0, len(token), 7):
        changed = bytearray(token)
        changed[place] ^= 0x01
        try:
            found = opened(bytes(changed))
            check_chain(found, [root])
        except Malformed:
            continue
        # What is left is what is not signed, and means nothing here: versions, what is named twice, the root in it.
        assert (found.time, found.serial, found.imprint, found.signer) == (NOW, 77, IMPRINT, authority.certificate)


@pytest.mark.parametrize("kind", [("-newkey", "rsa:2048"), ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384")])
@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha512"])
def test_tokens_of_openssl_are_read(tmp_path: Path, kind: tuple[str, ...], hash_name: str) -> None:
    (tmp_path / "cnf").write_text(CONFIGURATION.format(folder=tmp_path, hash=hash_name))
    (tmp_path / "extensions").write_text(EXTENSIONS)
    (tmp_path / "serial").write_text("0A\n")
    ca, key, csr, certificate = (tmp_path / name for name in ("ca.crt", "tsa.key", "tsa.csr", "tsa.crt"))
    ca_key = tmp_path / "ca.key"
    run("openssl", "req", "-x509", "-nodes", *kind, "-keyout", ca_key, "-out", ca, "-subj", "/CN=Root")
    run("openssl", "req", "-new", "-nodes", *kind, "-keyout", key, "-out", csr, "-subj", "/CN=TSA")
    run(
        *("openssl", "x509", "-req", "-in", csr, "-CA", ca, "-CAkey", ca_key, "-out", certificate),
        *("-extfile", tmp_path / "extensions", "-CAcreateserial"),
    )
    query, reply = tmp_path / "query", tmp_path / "token"
    run("openssl", "ts", "-query", "-digest", IMPRINT.hex(), "-sha256", "-cert", "-out", query)
    run(
        *("openssl", "ts", "-reply", "-config", tmp_path / "cnf", "-section", "tsa", "-queryfile", query),
        *("-signer", certificate, "-inkey", key, "-token_out", "-out", reply),
    )
    found = opened(reply.read_bytes())
    assert found.imprint == IMPRINT
    assert abs(datetime.now(UTC) - found.time) < timedelta(minutes=5)
    check_chain(found, [x509.load_pem_x509_certificate(ca.read_bytes())])
    with pytest.raises(Malformed, match="does not hold"):
        check_chain(found, [])
