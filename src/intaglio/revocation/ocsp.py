"""OCSP requests read and responses signed (RFC 6960, RFC 5019, RFC 9654).

Responses are written as DER directly: pyca's builder knows neither several certificates in one response
nor single extensions (archiveCutoff), and this is a hot path.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from intaglio.errors import Malformed
from intaglio.keys.algorithm import PrivateKey
from intaglio.pki import lint
from intaglio.pki.der import element, generalized_time, integer, object_identifier
from intaglio.pki.signature import algorithm_identifier, signing
from intaglio.pki.structures import AlgorithmIdentifier, Extension
from intaglio.revocation.register import REASONS

_MOST_REQUESTED = 16
_NONCE = x509.ObjectIdentifier("1.3.6.1.5.5.7.48.1.2")
_SHA1 = object_identifier("1.3.14.3.2.26")

# OCSPResponseStatus as complete responses: ENUMERATED in a SEQUENCE, no responseBytes (RFC 6960 §4.2.1)
MALFORMED_REQUEST = bytes.fromhex("30030a0101")
TRY_LATER = bytes.fromhex("30030a0103")
UNAUTHORIZED = bytes.fromhex("30030a0106")

_HASHES = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


@asn1.sequence
class CertID:
    """RFC 6960 §4.1.1."""

    hash_algorithm: AlgorithmIdentifier
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial_number: int


@asn1.sequence
class Request:
    """RFC 6960 §4.1.1."""

    req_cert: CertID
    single_request_extensions: Annotated[list[Extension] | None, asn1.Explicit(0)]


@asn1.sequence
class TBSRequest:
    """RFC 6960 §4.1.1, without a requestor's name, which only signed requests have to have."""

    version: Annotated[int, asn1.Explicit(0), asn1.Default(0)]
    request_list: list[Request]
    request_extensions: Annotated[list[Extension] | None, asn1.Explicit(2)]


@asn1.sequence
class OCSPRequest:
    """RFC 6960 §4.1.1, unsigned (RFC 5019 §2.1.2 lets clients leave the signature out, and so they do)."""

    tbs_request: TBSRequest


class Question(msgspec.Struct, frozen=True):
    """What a request asks: certificates, and the nonce to echo, if any."""

    cert_ids: tuple[CertID, ...]
    nonce: bytes | None


class Answer(msgspec.Struct, frozen=True):
    """The status of one certificate: `revoked_at` set means revoked; `known` False means unknown.

    `cert_id` is a CertID, DER.
    A status is current no longer than its certificate: `not_after` bounds nextUpdate, as validators that look back at
    a certificate that has ended expect. `this_update`, if set, stands in the place of the response's own time.
    """

    cert_id: bytes
    not_after: datetime | None = None
    known: bool = True
    revoked_at: datetime | None = None
    reason: str = "unspecified"
    this_update: datetime | None = None


def read(der: bytes) -> Question:
    """Return what `der` asks; raises `Malformed` (OCSP malformedRequest)."""
    try:
        request = asn1.decode_der(OCSPRequest, der).tbs_request
    except ValueError as error:
        raise Malformed("This is not an OCSP request.", {"request": str(error)}) from error
    if not 1 <= len(request.request_list) <= _MOST_REQUESTED:
        raise Malformed("The request asks for none or too many certificates.", {"requestList": "1 to 16 entries"})
    nonce = None
    for extension in request.request_extensions or []:
        if extension.extn_id == _NONCE:
            nonce = extension.extn_value
            _check_nonce(nonce)
    return Question(tuple(request.req_cert for request in request.request_list), nonce)


def _check_nonce(value: bytes) -> None:
    try:
        length = len(asn1.decode_der(bytes, value))
    except ValueError as error:
        raise Malformed("The nonce is not an OCTET STRING.", {"nonce": str(error)}) from error
    if not 1 <= length <= 128:  # RFC 9654 §2.1
        raise Malformed("The nonce must have 1 to 128 octets.", {"nonce": f"{length} octets"})


def issuer_hashes(issuer: x509.Certificate) -> dict[tuple[str, bytes, bytes], str]:
    """Return every (hash OID, name hash, key hash) that a CertID may name `issuer` by."""
    name = issuer.subject.public_bytes()
    key = _key_bits(issuer)
    return {
        (oid, hashlib.new(kind, name).digest(), hashlib.new(kind, key).digest()): kind for oid, kind in _HASHES.items()
    }


def _key_bits(certificate: x509.Certificate) -> bytes:
    """Return the subjectPublicKey's octets without tag, length and unused bits (RFC 6960 §4.1.1)."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)


_BASIC = bytes.fromhex("06092b0601050507300101")  # id-pkix-ocsp-basic
_ARCHIVE_CUTOFF = bytes.fromhex("06092b0601050507300106")
_NONCE_OID = bytes.fromhex("06092b0601050507300102")


class Responder:
    """A delegated responder of one CA (RFC 6960 §4.2.2.2); `currency` is nextUpdate less thisUpdate."""

    def __init__(
        self,
        issuer: x509.Certificate,
        certificate: x509.Certificate,
        key: PrivateKey,
        currency: timedelta,
        *,
        test: bool = False,
    ) -> None:
        lint.check_responder(certificate, issuer)
        self.issuer = issuer
        self.test = test
        self._begins, self._ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        self.certificate = certificate
        self.currency = currency
        self._sign = signing(key)
        name_hash = hashlib.sha1(issuer.subject.public_bytes(), usedforsecurity=False).digest()
        key_hash = hashlib.sha1(_key_bits(issuer), usedforsecurity=False).digest()
        self._issuer = element(0x30, _SHA1, b"\x05\x00") + element(0x04, name_hash) + element(0x04, key_hash)
        self._algorithm = algorithm_identifier(key)
        key_hash = hashlib.sha1(_key_bits(certificate), usedforsecurity=False).digest()
        self._responder_id = element(0xA2, element(0x04, key_hash))  # byKey [2]
        self._certificates = element(0xA0, element(0x30, certificate.public_bytes(Encoding.DER)))
        # We answer for everything this CA ever issued: the cutoff is its own beginning (RFC 6960 §4.4.4).
        cutoff = element(0x04, generalized_time(issuer.not_valid_before_utc))
        self._single_extensions = element(0xA1, element(0x30, element(0x30, _ARCHIVE_CUTOFF, cutoff)))

    def cert_id(self, serial: int) -> bytes:
        """Return the CertID that most clients ask with, DER: SHA-1 (RFC 5019 §2.1.1)."""
        return element(0x30, self._issuer, integer(serial))

    def sign(self, answers: Sequence[Answer], now: datetime, nonce: bytes | None = None) -> bytes:
        """Return a successful OCSPResponse, DER; `nonce` is the extension's value as it came.

        Raises `RuleBroken`, and then nothing is signed.
        """
        told = [(answer, answer.this_update or now) for answer in answers]
        lint.check_response(
            begins=self._begins,
            ends=self._ends,
            now=now,
            answers=[(one.revoked_at, begin, self.next_update(one, begin)) for one, begin in told],
        )
        singles = b"".join(self._single(answer, begin) for answer, begin in told)
        # What is told of a later time is not told before it.
        produced_at = generalized_time(max(now, *(begin for _, begin in told)))
        extensions = (
            b"" if nonce is None else element(0xA1, element(0x30, element(0x30, _NONCE_OID, element(0x04, nonce))))
        )
        tbs = element(0x30, self._responder_id, produced_at, element(0x30, singles), extensions)
        signature = element(0x03, b"\x00", self._sign(tbs))
        basic = element(0x30, tbs, self._algorithm, signature, self._certificates)
        return element(0x30, b"\x0a\x01\x00", element(0xA0, element(0x30, _BASIC, element(0x04, basic))))

    def next_update(self, answer: Answer, now: datetime) -> datetime:
        """Return until when an answer given at `now` is current."""
        end = now + self.currency
        # After the certificate's end nothing changes any more: the answer is as current as any.
        return min(end, answer.not_after) if answer.not_after is not None and now < answer.not_after else end

    def _single(self, answer: Answer, now: datetime) -> bytes:
        this_update = generalized_time(now)
        next_update = element(0xA0, generalized_time(self.next_update(answer, now)))
        if not answer.known:
            return element(0x30, answer.cert_id, b"\x82\x00", this_update, next_update)
        status = b"\x80\x00"
        if answer.revoked_at is not None:
            code = REASONS[answer.reason]
            # The reason unspecified is left out rather than said (RFC 5280 §5.3.1).
            reason = element(0xA0, bytes((0x0A, 1, code))) if code else b""
            status = element(0xA1, generalized_time(answer.revoked_at), reason)
        return element(0x30, answer.cert_id, status, this_update, next_update, self._single_extensions)
