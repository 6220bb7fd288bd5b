"""Requests: what is read, what is refused, and how the refusal is said."""

import subprocess
from contextlib import suppress
from pathlib import Path

import asn1crypto.algos
import asn1crypto.core
import asn1crypto.tsp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.timestamping.authority import Authority
from intaglio.timestamping.tsp import PKIFailure, StampRefused, rejected, sha256_imprint

SIZES = {"sha1": 20, "md5": 16, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64}
VALID = bytes.fromhex("3039020101 3031300d0609608648016503040201 0500 0420" + "5a" * 32 + "0101ff")


def query(algorithm: str = "sha256", octets: int | None = None, **fields: object) -> bytes:
    imprint = {
        "hash_algorithm": asn1crypto.algos.DigestAlgorithm({"algorithm": algorithm}),
        "hashed_message": bytes(SIZES.get(algorithm, 32) if octets is None else octets),
    }
    content = {"version": 1, "message_imprint": imprint, "cert_req": True, **fields}
    return bytes(asn1crypto.tsp.TimeStampReq(content).dump())


def extension(*, critical: bool) -> dict[str, object]:
    return {"extn_id": "1.2.3.4", "critical": critical, "extn_value": asn1crypto.core.OctetString(b"\x05\x00")}


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_accepted_imprints(quick: Authority, algorithm: str) -> None:
    request = quick.read(query(algorithm, nonce=12))
    assert request.message_imprint.hashed_message == bytes(SIZES[algorithm])
    assert request.nonce == 12
    assert request.cert_req is True


def test_defaults(quick: Authority, policy: str) -> None:
    request = quick.read(query(req_policy=policy, cert_req=False))
    assert request.nonce is None
    assert request.cert_req is False


REFUSALS = {
    "sha1": (query("sha1"), PKIFailure.BAD_ALG),
    "md5": (query("md5"), PKIFailure.BAD_ALG),
    "sha224": (query("sha224"), PKIFailure.BAD_ALG),
    "an unknown hash": (query("1.2.3.4"), PKIFailure.BAD_ALG),
    "an imprint too short": (query(octets=31), PKIFailure.BAD_DATA_FORMAT),
    "an imprint too long": (query("sha384", octets=64), PKIFailure.BAD_DATA_FORMAT),
    "an empty imprint": (query(octets=0), PKIFailure.BAD_DATA_FORMAT),
    "another policy": (query(req_policy="1.2.3.4"), PKIFailure.UNACCEPTED_POLICY),
    "a critical extension": (query(extensions=[extension(critical=True)]), PKIFailure.UNACCEPTED_EXTENSION),
    "an extension": (query(extensions=[extension(critical=False)]), PKIFailure.UNACCEPTED_EXTENSION),
    "a nonce without end": (query(nonce=1 << 4096), PKIFailure.BAD_REQUEST),
    "version 2": (query(version=2), PKIFailure.BAD_REQUEST),
    "nothing": (b"", PKIFailure.BAD_REQUEST),
    "text": (b"hello", PKIFailure.BAD_REQUEST),
    "octets after the request": (VALID + b"\x00", PKIFailure.BAD_REQUEST),
    "a request cut short": (VALID[:-1], PKIFailure.BAD_REQUEST),
    "FALSE written out": (VALID[:-1] + b"\x00", PKIFailure.BAD_REQUEST),
    "TRUE that is not FF": (VALID[:-1] + b"\x01", PKIFailure.BAD_REQUEST),
    "a length in long form": (b"\x30\x81" + VALID[1:], PKIFailure.BAD_REQUEST),
    "a length without end": (b"\x30\x80" + VALID[2:] + b"\x00\x00", PKIFailure.BAD_REQUEST),
    "a megabyte": (VALID + bytes(1 << 20), PKIFailure.BAD_REQUEST),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(quick: Authority, case: str) -> None:
    encoded, failure = REFUSALS[case]
    with pytest.raises(StampRefused) as refused:
        quick.read(encoded)
    assert refused.value.failure is failure
    assert str(refused.value)


def test_the_valid_request_of_the_table_is_valid(quick: Authority) -> None:
    assert quick.read(VALID).cert_req is True


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(encoded=st.binary(max_size=200))
def test_any_octets_are_read_or_refused(quick: Authority, encoded: bytes) -> None:
    with suppress(StampRefused):
        quick.read(encoded)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base=st.sampled_from([VALID, query(nonce=5, req_policy="1.2.3.4"), query(extensions=[extension(critical=True)])]),
    place=st.integers(0, 200),
    put=st.binary(max_size=3),
    drop=st.integers(0, 3),
)
def test_a_damaged_request_is_read_or_refused(quick: Authority, base: bytes, place: int, put: bytes, drop: int) -> None:
    place %= len(base)
    with suppress(StampRefused):
        quick.read(base[:place] + put + base[place + drop :])


@pytest.mark.parametrize(
    ("failure", "bit"),
    [
        (PKIFailure.BAD_ALG, 0),
        (PKIFailure.BAD_REQUEST, 2),
        (PKIFailure.BAD_DATA_FORMAT, 5),
        (PKIFailure.TIME_NOT_AVAILABLE, 14),
        (PKIFailure.UNACCEPTED_POLICY, 15),
        (PKIFailure.UNACCEPTED_EXTENSION, 16),
        (PKIFailure.SYSTEM_FAILURE, 25),
    ],
)
def test_rejection_says_why_as_a_bit_and_in_words(failure: PKIFailure, bit: int) -> None:
    encoded = rejected(failure, "weil: größer")
    # asn1crypto's TimeStampResp demands a token, which RFC 3161 §2.4.2 makes optional: the frame is read bare.
    frame = asn1crypto.core.Sequence.load(encoded, strict=True)
    status = asn1crypto.tsp.PKIStatusInfo.load(frame.contents, strict=True)
    assert status["status"].native == "rejection"
    assert status["status_string"].native == ["weil: größer"]
    # A named bit list ends with the bit that is set: no trailing zero bits (X.690 §11.2.2).
    assert asn1crypto.core.BitString.load(status["fail_info"].dump()).native == (0,) * bit + (1,)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (PKIFailure.BAD_ALG, "unrecognized or unsupported algorithm identifier"),
        (PKIFailure.BAD_DATA_FORMAT, "the data submitted has the wrong format"),
        (PKIFailure.TIME_NOT_AVAILABLE, "the TSA's time source is not available"),
        (PKIFailure.UNACCEPTED_POLICY, "the requested TSA policy is not supported by the TSA"),
        (PKIFailure.UNACCEPTED_EXTENSION, "the requested extension is not supported by the TSA"),
        (PKIFailure.SYSTEM_FAILURE, "the request cannot be handled due to system failure"),
    ],
)
def test_openssl_reads_the_rejection(tmp_path: Path, failure: PKIFailure, words: str) -> None:
    (tmp_path / "reply").write_bytes(rejected(failure, "words"))
    done = subprocess.run(
        ["openssl", "ts", "-reply", "-in", str(tmp_path / "reply"), "-text"], capture_output=True, text=True, check=True
    )
    assert "Status: Rejected." in done.stdout
    assert words in done.stdout


def test_an_imprint_of_our_own_is_as_openssl_writes_it(tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "ts", "-query", "-digest", "5a" * 32, "-sha256", "-no_nonce", "-out", str(tmp_path / "query")],
        capture_output=True,
        check=True,
    )
    expected = asn1crypto.tsp.TimeStampReq.load((tmp_path / "query").read_bytes())["message_imprint"].native
    assert sha256_imprint(b"\x5a" * 32).hashed_message == expected["hashed_message"]
