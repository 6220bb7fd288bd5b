"""Tokens, as openssl, rfc3161-client and pyHanko judge them."""

import asyncio
import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asn1crypto.cms
import asn1crypto.tsp
import asn1crypto.x509
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.sign.validation.generic_cms import validate_tst_signed_data
from pyhanko_certvalidator import ValidationContext
from rfc3161_client import TimestampRequestBuilder, VerifierBuilder, decode_timestamp_response

from intaglio.errors import ClockUntrusted
from intaglio.timestamping.authority import Authority
from intaglio.timestamping.tsp import granted, sha256_imprint

MESSAGE = b"what is stamped"
SERIAL = (1 << 158) | 7


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stamped(authority: Authority, now: datetime, nonce: int | None = None, *, cert_req: bool = True) -> Any:
    imprint = sha256_imprint(hashlib.sha256(MESSAGE).digest())
    token = authority.stamp(imprint, serial=SERIAL, now=now, nonce=nonce, cert_req=cert_req)
    content = asn1crypto.cms.ContentInfo.load(token, strict=True)
    assert content["content_type"].native == "signed_data"
    return content["content"]


def tst_info(authority: Authority, now: datetime, nonce: int | None = None) -> Any:
    return stamped(authority, now, nonce)["encap_content_info"]["content"].parsed


def pem(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("with_certificates", [True, False])
def test_openssl_verifies_the_answer_to_its_own_query(
    authority: Authority, root: x509.Certificate, tmp_path: Path, *, algorithm: str, with_certificates: bool
) -> None:
    now = datetime.now(UTC)
    message, query, reply = tmp_path / "message", tmp_path / "query", tmp_path / "reply"
    message.write_bytes(MESSAGE)
    wish = ["-cert"] if with_certificates else []
    openssl("ts", "-query", "-data", message, f"-{algorithm}", *wish, "-out", query)
    request = authority.read(query.read_bytes())
    assert request.cert_req is with_certificates
    assert request.nonce is not None
    token = authority.stamp(
        request.message_imprint, serial=SERIAL, now=now, nonce=request.nonce, cert_req=request.cert_req
    )
    reply.write_bytes(granted(token))
    trusted: list[str | Path] = ["-CAfile", pem(tmp_path / "root.pem", root)]
    known: list[str | Path] = (
        [] if with_certificates else ["-untrusted", pem(tmp_path / "tsa.pem", authority.certificate)]
    )
    openssl("ts", "-verify", "-queryfile", query, "-in", reply, *trusted, *known)
    openssl("ts", "-verify", "-data", message, "-in", reply, *trusted, *known)
    (tmp_path / "token").write_bytes(token)
    openssl("ts", "-verify", "-queryfile", query, "-in", tmp_path / "token", "-token_in", *trusted, *known)


def test_openssl_refuses_the_token_for_another_message(
    authority: Authority, root: x509.Certificate, now: datetime, tmp_path: Path
) -> None:
    token = authority.stamp(sha256_imprint(bytes(32)), serial=SERIAL, now=now, nonce=None, cert_req=True)
    (tmp_path / "token").write_bytes(token)
    (tmp_path / "message").write_bytes(MESSAGE)
    trusted = ["-CAfile", str(pem(tmp_path / "root.pem", root))]
    arguments = ["-data", tmp_path / "message", "-in", tmp_path / "token", "-token_in", *trusted]
    done = subprocess.run(["openssl", "ts", "-verify", *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode != 0
    assert b"message imprint mismatch" in done.stderr


def test_rfc3161_client_verifies(authority: Authority, root: x509.Certificate, now: datetime) -> None:
    wanted = TimestampRequestBuilder().data(MESSAGE).nonce(nonce=True).cert_request(cert_request=True).build()
    request = authority.read(wanted.as_bytes())
    token = authority.stamp(
        request.message_imprint, serial=SERIAL, now=now, nonce=request.nonce, cert_req=request.cert_req
    )
    response = decode_timestamp_response(granted(token))
    verifier = VerifierBuilder.from_request(wanted).add_root_certificate(root).build()
    assert verifier.verify_message(response, MESSAGE)
    assert response.tst_info.nonce == wanted.nonce


def test_pyhanko_verifies(authority: Authority, root: x509.Certificate, now: datetime) -> None:
    anchor = asn1crypto.x509.Certificate.load(root.public_bytes(Encoding.DER))
    context = ValidationContext(trust_roots=[anchor], allow_fetching=False, moment=now)
    verdict = asyncio.run(
        validate_tst_signed_data(stamped(authority, now), context, lambda name: hashlib.new(name, MESSAGE).digest())
    )
    assert verdict["intact"]
    assert verdict["valid"]
    assert verdict["timestamp"] == now.replace(microsecond=120000)


def test_signed_data_has_version_3_and_the_four_signed_attributes(authority: Authority, now: datetime) -> None:
    signed = stamped(authority, now)
    assert signed["version"].native == "v3"
    assert signed["encap_content_info"]["content_type"].native == "tst_info"
    (signer,) = signed["signer_infos"]
    attributes = [attribute["type"].native for attribute in signer["signed_attrs"]]
    assert sorted(attributes) == ["content_type", "message_digest", "signing_certificate_v2", "signing_time"]
    encoded = [attribute.dump() for attribute in signer["signed_attrs"]]
    assert encoded == sorted(encoded)
    assert signer["unsigned_attrs"].native is None


def test_signing_time_is_a_utc_time_in_whole_seconds(authority: Authority, now: datetime) -> None:
    (signer,) = stamped(authority, now)["signer_infos"]
    (time,) = next(one["values"] for one in signer["signed_attrs"] if one["type"].native == "signing_time")
    assert time.chosen.dump() == b"\x17\x0d261001123005Z"


def test_signing_certificate_names_the_certificate_with_the_default_hash_left_out(
    authority: Authority, now: datetime
) -> None:
    (signer,) = stamped(authority, now)["signer_infos"]
    (value,) = next(one["values"] for one in signer["signed_attrs"] if one["type"].native == "signing_certificate_v2")
    (named,) = value["certs"]
    digest = hashlib.sha256(authority.certificate.public_bytes(Encoding.DER)).digest()
    assert named.contents.startswith(b"\x04\x20" + digest)
    assert named["issuer_serial"]["serial_number"].native == authority.certificate.serial_number
    (issuer,) = named["issuer_serial"]["issuer"]
    assert issuer.chosen.untag().dump() == authority.certificate.issuer.public_bytes()


def test_certificates_only_when_asked_for(authority: Authority, root: x509.Certificate, now: datetime) -> None:
    assert stamped(authority, now, cert_req=False)["certificates"].native is None
    present = {one.chosen.dump() for one in stamped(authority, now)["certificates"]}
    assert present == {one.public_bytes(Encoding.DER) for one in (authority.certificate, root)}


def test_tst_info(authority: Authority, now: datetime, policy: str) -> None:
    content = tst_info(authority, now, nonce=1 << 63)
    assert content["version"].native == "v1"
    assert content["policy"].native == policy
    assert content["serial_number"].native == SERIAL
    assert content["gen_time"].contents == b"20261001123005.12Z"
    assert content["accuracy"].dump() == bytes.fromhex("3003020101")
    assert content["nonce"].native == 1 << 63
    assert content["tsa"].chosen.untag().dump() == authority.certificate.subject.public_bytes()
    assert content["ordering"].native is False
    # FALSE is the DEFAULT and not written (X.690 §11.5): the nonce follows the accuracy at once.
    assert content["accuracy"].dump() + content["nonce"].dump() in content.dump()


@pytest.mark.parametrize(
    ("microsecond", "written"),
    [
        (0, b"20261001123005Z"),
        (999, b"20261001123005Z"),
        (1_000, b"20261001123005.001Z"),
        (500_000, b"20261001123005.5Z"),
        (999_999, b"20261001123005.999Z"),
    ],
)
def test_gen_time_in_milliseconds_without_trailing_zeros(
    quick: Authority, now: datetime, microsecond: int, written: bytes
) -> None:
    assert tst_info(quick, now.replace(microsecond=microsecond))["gen_time"].contents == written


@pytest.mark.parametrize(
    ("accuracy", "written"),
    [
        (timedelta(seconds=1), "3003020101"),
        (timedelta(milliseconds=500), "3004800201f4"),
        (timedelta(seconds=2, milliseconds=5, microseconds=200), "300a020102800105810200c8"),
    ],
)
def test_accuracy_names_each_unit_that_is_not_zero(
    quick: Authority, now: datetime, accuracy: timedelta, written: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    other = Authority(quick.certificate, [], key, quick.policy, accuracy)
    assert tst_info(other, now)["accuracy"].dump().hex() == written


@pytest.mark.parametrize("nonce", [0, 1, -1, 127, 128, -129, (1 << 159) + 3])
def test_nonce_is_echoed(quick: Authority, now: datetime, nonce: int) -> None:
    assert tst_info(quick, now, nonce)["nonce"].native == nonce


@pytest.mark.parametrize("parameters", ["", "0500"])
def test_imprint_is_echoed_octet_for_octet(quick: Authority, now: datetime, parameters: str) -> None:
    algorithm = bytes.fromhex("0609608648016503040201" + parameters)
    imprint = bytes((0x30, len(algorithm))) + algorithm + b"\x04\x20" + bytes(range(32))
    imprint = bytes((0x30, len(imprint))) + imprint
    request = quick.read(bytes((0x30, len(imprint) + 3)) + b"\x02\x01\x01" + imprint)
    token = quick.stamp(request.message_imprint, serial=SERIAL, now=now, nonce=request.nonce, cert_req=request.cert_req)
    assert imprint in token


@pytest.mark.parametrize("moment", [datetime(2024, 12, 31, tzinfo=UTC), datetime(2045, 1, 1, 0, 0, 1, tzinfo=UTC)])
def test_no_token_outside_the_validity_of_the_certificate(quick: Authority, moment: datetime) -> None:
    with pytest.raises(ClockUntrusted):
        tst_info(quick, moment)


def test_threads_at_once_make_sound_tokens(quick: Authority, root: x509.Certificate, now: datetime) -> None:
    imprint = sha256_imprint(hashlib.sha256(MESSAGE).digest())
    verifier = VerifierBuilder().add_root_certificate(root).build()

    def work(lane: int) -> None:
        for step in range(25):
            moment = now.replace(microsecond=0) + timedelta(milliseconds=4 * step + lane)
            token = quick.stamp(imprint, serial=lane * 1000 + step + 1, now=moment, nonce=lane, cert_req=True)
            response = decode_timestamp_response(granted(token))
            assert verifier.verify_message(response, MESSAGE)
            assert response.tst_info.serial_number == lane * 1000 + step + 1
            told = asn1crypto.cms.ContentInfo.load(token)["content"]["encap_content_info"]["content"].parsed
            assert told["gen_time"].native == moment

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [None] * 4
