"""The messages of the time-stamp protocol (RFC 3161 §2.4)."""

from enum import IntEnum
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.hazmat import asn1

from intaglio.errors import Malformed, RequestRefused
from intaglio.pki.der import element, elements, is_element
from intaglio.pki.structures import AlgorithmIdentifier, Extension

_MOST_BYTES = 4096
# The octets of each imprint that is accepted; SHA-1 and MD5 are not.
_LENGTHS = {
    "2.16.840.1.101.3.4.2.1": 32,
    "2.16.840.1.101.3.4.2.2": 48,
    "2.16.840.1.101.3.4.2.3": 64,
}


class PKIFailure(IntEnum):
    """PKIFailureInfo: the number is the bit (RFC 3161 §2.4.2)."""

    BAD_ALG = 0
    BAD_REQUEST = 2
    BAD_DATA_FORMAT = 5
    TIME_NOT_AVAILABLE = 14
    UNACCEPTED_POLICY = 15
    UNACCEPTED_EXTENSION = 16
    SYSTEM_FAILURE = 25


class StampRefused(RequestRefused):
    """A request that gets a rejection in place of a token."""

    def __init__(self, failure: PKIFailure, description: str) -> None:
        super().__init__(description, {"request": description})
        self.failure = failure


@asn1.sequence
class MessageImprint:
    """RFC 3161 §2.4.1."""

    hash_algorithm: AlgorithmIdentifier
    hashed_message: bytes


@asn1.sequence
class TimeStampReq:
    """RFC 3161 §2.4.1."""

    version: int
    message_imprint: MessageImprint
    req_policy: x509.ObjectIdentifier | None
    nonce: int | None
    cert_req: Annotated[bool, asn1.Default(value=False)]
    extensions: Annotated[list[Extension] | None, asn1.Implicit(0)]


class StampRequest(msgspec.Struct, frozen=True):
    """What was asked for, checked."""

    message_imprint: MessageImprint
    nonce: int | None
    cert_req: bool


def sha256_imprint(digest: bytes) -> MessageImprint:
    """Return the imprint of 32 bytes of SHA-256."""
    algorithm = AlgorithmIdentifier(algorithm=x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1"), parameters=asn1.Null())
    return MessageImprint(hash_algorithm=algorithm, hashed_message=digest)


def read_request(encoded: bytes, policy: str) -> StampRequest:
    """Return a checked request to a TSA of this policy OID; raises `StampRefused` with the failure to answer."""
    if len(encoded) > _MOST_BYTES:
        raise StampRefused(PKIFailure.BAD_REQUEST, "the request is too long")
    try:
        request = asn1.decode_der(TimeStampReq, encoded)
    except ValueError as error:
        raise StampRefused(PKIFailure.BAD_REQUEST, "this is not a TimeStampReq in DER") from error
    if request.version != 1:
        raise StampRefused(PKIFailure.BAD_REQUEST, "the version is not 1")
    imprint = request.message_imprint
    length = _LENGTHS.get(imprint.hash_algorithm.algorithm.dotted_string)
    if length is None:
        raise StampRefused(PKIFailure.BAD_ALG, "the imprint must be SHA-256, SHA-384 or SHA-512")
    if len(imprint.hashed_message) != length:
        raise StampRefused(PKIFailure.BAD_DATA_FORMAT, f"the imprint must have {length} octets")
    if request.req_policy is not None and request.req_policy.dotted_string != policy:
        raise StampRefused(PKIFailure.UNACCEPTED_POLICY, f"the only policy here is {policy}")
    if request.extensions:
        raise StampRefused(PKIFailure.UNACCEPTED_EXTENSION, "no extension is supported")
    if request.nonce is not None and request.nonce.bit_length() > 512:
        raise StampRefused(PKIFailure.BAD_REQUEST, "the nonce is too long")
    return StampRequest(imprint, request.nonce, request.cert_req)


def request(imprint: MessageImprint, nonce: int) -> bytes:
    """Return a TimeStampReq, DER, that asks for the certificates, too."""
    asked = TimeStampReq(
        version=1, message_imprint=imprint, req_policy=None, nonce=nonce, cert_req=True, extensions=None
    )
    return asn1.encode_der(asked)


def answered(response: bytes) -> bytes:
    """Return the token of a TimeStampResp, DER; raises `Malformed` if there is none."""
    parts = elements(response) if is_element(response, 32) else []
    # granted, or granted with modifications (RFC 3161 §2.4.2)
    if len(parts) != 2 or elements(parts[0])[:1] not in ([b"\x02\x01\x00"], [b"\x02\x01\x01"]):
        raise Malformed("No time-stamp was given.", {"stamp": "the authority refused, or sent something else"})
    return parts[1]


def granted(token: bytes) -> bytes:
    """Return a TimeStampResp with status granted."""
    return element(0x30, element(0x30, b"\x02\x01\x00"), token)


def rejected(failure: PKIFailure, description: str) -> bytes:
    """Return a TimeStampResp with status rejection, the reason as text and as a bit."""
    # A named bit list has no trailing zero bits (X.690 §11.2.2).
    octets = bytearray(failure // 8 + 1)
    octets[-1] = 0x80 >> failure % 8
    bits = element(0x03, bytes((7 - failure % 8,)), bytes(octets))
    words = element(0x30, element(0x0C, description.encode()))
    return element(0x30, element(0x30, b"\x02\x01\x02", words, bits))
