"""What the service hands out, as records: tokens, identities, the chain of trust."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cryptography import x509

from intaglio_client.errors import UnexpectedAnswer

IDENTITY_LIFETIME = timedelta(minutes=10)


class Token(msgspec.Struct, frozen=True):
    """A bearer token and the moment (UTC, by our clock) from which it is no longer used."""

    text: str
    good_until: datetime

    def __repr__(self) -> str:
        return f"Token(good_until={self.good_until.isoformat()})"


class Identity(msgspec.Struct, frozen=True):
    """A signer's short-lived key and certificate, held by the service.

    `signing_cert` is PEM, `ocsp_response` a DER OCSPResponse for it, `created` the moment
    (UTC) just before the service was asked: the ten minutes are counted from there.
    """

    id: str
    signing_cert: str
    ocsp_response: bytes
    created: datetime

    @property
    def certificate(self) -> x509.Certificate:
        """The signing certificate, parsed; raises `UnexpectedAnswer` if it is not one."""
        return certificates(self.signing_cert)[0]

    @property
    def good_until(self) -> datetime:
        """The moment (UTC) at which the key is gone: the certificate's end, or ten minutes after `created`."""
        return min(self.certificate.not_valid_after_utc, self.created + IDENTITY_LIFETIME)


class Trustchain(msgspec.Struct, frozen=True):
    """What makes signatures long-lived, beside the identity's own OCSP response.

    `certs` are PEM, the issuer first and the root last; `ocsp` are DER OCSPResponses for
    the authorities and the time-stamping certificate.
    """

    certs: tuple[str, ...]
    ocsp: tuple[bytes, ...]

    @property
    def root(self) -> x509.Certificate:
        """The last certificate, parsed: the one to trust."""
        return certificates(self.certs[-1])[0]


class ForcedFailure(msgspec.Struct, frozen=True):
    """What a test account has fail; `remaining` says how often still, None for always."""

    failure: str
    remaining: int | None = None


class Sandbox(msgspec.Struct, frozen=True):
    """How a test account's sandbox stands: `account_time` is `ahead_seconds` ahead of `real_time`."""

    real_time: datetime
    account_time: datetime
    ahead_seconds: int
    failures: tuple[ForcedFailure, ...]


class LoginAnswer(msgspec.Struct, frozen=True):
    """`POST /login`."""

    access_token: str


class IdentityAnswer(msgspec.Struct, frozen=True):
    """`POST /identity`."""

    id: str
    signing_cert: str
    ocsp_response: str


class SignatureAnswer(msgspec.Struct, frozen=True):
    """`GET /identity/{id}/sign/{digest}`."""

    signature: str


class TimestampAnswer(msgspec.Struct, frozen=True):
    """`GET /timestamp/{digest}`."""

    token: str


class PathAnswer(msgspec.Struct, frozen=True):
    """`GET /certificate_path`."""

    path: str


class TrustchainAnswer(msgspec.Struct, frozen=True):
    """`GET /trustchain`."""

    trustchain: list[str]
    ocsp_revocation_info: list[str]


class NonceAnswer(msgspec.Struct, frozen=True):
    """`GET /identity/nonce`."""

    nonce: str


class NumberAnswer(msgspec.Struct, frozen=True):
    """`GET /quotas/…` and `GET /counters/…`."""

    value: int


class ProblemAnswer(msgspec.Struct, frozen=True):
    """The members read of a problem document; all may be missing when something else answered."""

    description: str | None = None
    id: str | None = None
    errors: dict[str, Any] = {}
    detail: str | None = None
    title: str | None = None


def certificates(pem: str) -> list[x509.Certificate]:
    """Return the certificates of a PEM text, at least one; raises `UnexpectedAnswer`."""
    try:
        return x509.load_pem_x509_certificates(pem.encode("ascii"))
    except ValueError as unreadable:
        raise UnexpectedAnswer(f"Not a PEM certificate: {unreadable}") from unreadable


def from_base64(text: str, what: str) -> bytes:
    """Return the bytes of a base64 text; `what` names it in the `UnexpectedAnswer` raised."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as unreadable:
        raise UnexpectedAnswer(f"The {what} is not base64.") from unreadable


def from_hex(text: str, what: str) -> bytes:
    """Return the bytes of a hexadecimal text; `what` names it in the `UnexpectedAnswer` raised."""
    try:
        return bytes.fromhex(text)
    except ValueError as unreadable:
        raise UnexpectedAnswer(f"The {what} is not hexadecimal.") from unreadable


def token_from(text: str, asked_at: datetime) -> Token:
    """Return the token with its end by our own clock, taken from the JWT's lifetime.

    `exp - iat` is counted from `asked_at`, so that a client whose clock is wrong neither
    uses dead tokens nor logs in for every call; without `iat`, `exp` is taken as it is
    (RFC 7519 §4.1.4, §4.1.6). A token that is no JWT is used until the service refuses it.
    """
    try:
        payload = text.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims)
    except (IndexError, ValueError, msgspec.MsgspecError):
        return Token(text, asked_at + timedelta(days=1))
    if claims.exp is None:
        return Token(text, asked_at + timedelta(days=1))
    if claims.iat is None:
        return Token(text, datetime.fromtimestamp(claims.exp, UTC))
    return Token(text, asked_at + timedelta(seconds=claims.exp - claims.iat))


class _Claims(msgspec.Struct, frozen=True):
    exp: float | None = None
    iat: float | None = None
