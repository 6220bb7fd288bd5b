"""Identity tokens: signed JWTs (RFC 7519), such as OpenID Connect's ID tokens, held against a rule.

Each refusal is a `NotVerified` with the reason: whoever presents a token may know why it is not taken.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.registry import Header

from intaglio.accounts.verification.rule import TokenRule
from intaglio.errors import NotVerified

# Clocks differ; how far a token may come from the future.
_SKEW = timedelta(seconds=30)
_MOST_CHARACTERS = 8192
# RFC 9068 and others say what a token is for, and it is not this.
_TYPES = (None, "JWT", "jwt")


class Registry(jws.JWSRegistry):
    """A header may hold a chain of certificates, which nobody looks at here."""

    max_header_length = _MOST_CHARACTERS


class Read(msgspec.Struct, frozen=True):
    """A token that was read and not believed yet."""

    text: str
    header: Header
    claims: dict[str, Any]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the token as it was sent, hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def once(self) -> bytes:
        """What makes it the same token again: another signature over the same would be another text."""
        return hashlib.sha256(self.text.rpartition(".")[0].encode()).digest()


def refused(reason: str) -> NotVerified:
    """Return the refusal of a token."""
    return NotVerified("The identity token is refused.", {"identity_token": reason})


def read(text: str, rule: TokenRule) -> Read:
    """Return a token that says it is of the rule's issuer, in a form that is taken; raises `NotVerified`."""
    if len(text) > _MOST_CHARACTERS or text.count(".") != 2:
        raise refused("is not a signed JWT")
    head, body, _ = text.split(".")
    try:
        header, claims = (msgspec.json.decode(decoded(part), type=dict[str, Any]) for part in (head, body))
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise refused("is not a signed JWT") from error
    if claims.get("iss") != rule.issuer:
        raise refused("is of another issuer than was approved")
    if header.get("alg") not in rule.algorithms:
        raise refused("is signed by another algorithm than was approved")
    if "crit" in header or "b64" in header or header.get("typ") not in _TYPES:
        raise refused("is of another kind than an identity token")
    if not isinstance(header.get("kid", ""), str):
        raise refused("is not a signed JWT")
    return Read(text, header, claims)


def check_signature(token: Read, key: RSAKey | ECKey) -> None:
    """Raise `NotVerified` unless the token is signed by `key`."""
    algorithm = token.header["alg"]
    registry = Registry(algorithms=[algorithm], strict_check_header=False)
    try:
        jws.deserialize_compact(token.text.encode(), key, registry=registry)
    except (JoseError, ValueError, TypeError) as error:
        raise refused("has a wrong signature") from error


def check_claims(
    token: Read, rule: TokenRule, now: datetime, body_sha256: bytes, is_fresh: Callable[[str], bool]
) -> None:
    """Raise `NotVerified` unless the token is for us, of now, and for this request; `is_fresh` knows our own nonces."""
    claims = token.claims
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if rule.audience not in audiences:
        raise refused("is for another audience than was approved")
    # OpenID Connect Core §3.1.3.7: with several audiences, azp says whose token it is.
    if claims.get("azp", rule.audience if len(audiences) == 1 else None) != rule.audience:
        raise refused("was issued to another party (azp)")
    if now >= _time(claims, "exp"):
        raise refused("has expired")
    issued = _time(claims, "iat")
    if issued > now + _SKEW or ("nbf" in claims and _time(claims, "nbf") > now + _SKEW):
        raise refused("is of the future")
    if now - issued > timedelta(seconds=rule.age_seconds):
        raise refused(f"is older than {rule.age_seconds} seconds")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str):
        raise refused("has no nonce")
    if rule.binding == "request" and nonce != encoded(body_sha256):
        raise refused("is for another request: its nonce is not base64url(SHA-256(body))")
    if rule.binding == "nonce" and not is_fresh(nonce):
        raise refused("has a nonce that was not fetched here for this account, or too long ago")


def _time(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"has no {name}")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise refused(f"has no {name}") from error


def encoded(octets: bytes) -> str:
    """Return base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def decoded(text: str) -> bytes:
    """Return what base64url without padding holds; raises `ValueError`."""
    if not text.isascii():
        raise ValueError(text)
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
