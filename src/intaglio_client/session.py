"""The calls of API v2, each written once, and what is remembered between them."""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import msgspec

from intaglio_client import answers
from intaglio_client.answers import Identity, Sandbox, Token, Trustchain
from intaglio_client.errors import NotFound, Refused, UnexpectedAnswer, Unusable, refusal_for
from intaglio_client.exchange import Ask, Exchange, Free, Hold, Reply, Retries, answered, retry_after

MARGIN: Final = timedelta(seconds=30)
"""How long before their end tokens and identities are no longer used."""

JSON: Final = "application/json;charset=utf-8"

A = TypeVar("A")


def utc_now() -> datetime:
    """Return the current time, UTC."""
    return datetime.now(UTC)


class Session:
    """One account's credential, its token, and the identities that can still sign."""

    def __init__(
        self, api_key: str, api_secret: str, retries: Retries, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.api_key = api_key
        self.api_secret = api_secret
        self.retries = retries
        self.clock = clock
        self.token: Token | None = None
        self.identities: dict[str, Identity] = {}

    def live_token(self) -> Token | None:
        """Return the token if it can still be used."""
        if self.token is None or self.clock() >= self.token.good_until - MARGIN:
            return None
        return self.token

    def live_identity(self, signer: str) -> Identity | None:
        """Return the signer's identity if it can still sign for a while."""
        kept = self.identities.get(signer)
        if kept is None or self.clock() >= kept.good_until - MARGIN:
            return None
        return kept

    def keep_identity(self, signer: str, made: Identity) -> None:
        """Remember an identity for its signer, and forget those that are over."""
        now = self.clock()
        self.identities = {name: kept for name, kept in self.identities.items() if now < kept.good_until}
        self.identities[signer] = made

    def forget_identity(self, gone: Identity) -> None:
        """Forget an identity that the service no longer knows."""
        self.identities = {name: kept for name, kept in self.identities.items() if kept.id != gone.id}


def login(session: Session) -> Exchange[Token]:
    """Log in, keep the token and return it; raises `Unauthenticated` and the rest of the tree."""
    body = msgspec.json.encode({"api_key": session.api_key, "api_secret": session.api_secret})
    asked_at = session.clock()
    ask = Ask("POST", "/login", {"Content-Type": JSON}, body, repeatable=True)
    reply = yield from answered(ask, session.retries, asked_at)
    answer = _read(reply, answers.LoginAnswer, asked_at)
    session.token = answers.token_from(answer.access_token, asked_at)
    return session.token


def identity(
    session: Session,
    request: Mapping[str, Any] | None = None,
    *,
    fresh: bool = False,
    mechanism: str | None = None,
    reference: str | None = None,
    token: str | None = None,
) -> Exchange[Identity]:
    """Return an identity for the signer that `request` describes, a kept one if it still serves.

    The signer is the request's canonical JSON (sorted keys), so two requests that say the
    same share one identity; `fresh` always makes a new one. `mechanism` is the id of that by
    which the signer was verified, `reference` (printable ASCII, no personal data) the caller's
    own note of how, and `token` the provider's: with one of the two, a new identity is made.
    A token bound to the request is asked for with `binding_nonce(request)`. Raises `ContentRefused` naming
    every refused field, and `Forbidden`.
    """
    body = _body(request)
    headers = _verified(mechanism, reference, token)
    signer = hashlib.sha256(body).hexdigest()
    # Two callers at once for one signer: the second waits and gets the first one's identity.
    yield Hold(f"identity {signer}")
    kept = None if fresh or headers else session.live_identity(signer)
    if kept is not None:
        return kept
    created = session.clock()
    answer = yield from _call(session, "POST", "/identity", answers.IdentityAnswer, body, headers)
    made = Identity(
        id=answer.id,
        signing_cert=answer.signing_cert,
        ocsp_response=answers.from_base64(answer.ocsp_response, "OCSP response"),
        created=created,
    )
    session.keep_identity(signer, made)
    return made


def identity_nonce(session: Session) -> Exchange[str]:
    """Return a nonce for an identity token, where the mechanism is bound to one from the service."""
    return (yield from _call(session, "GET", "/identity/nonce", answers.NonceAnswer)).nonce


def binding_nonce(request: Mapping[str, Any] | None) -> str:
    """Return the nonce that binds an identity token to the identity request for which it is meant.

    It is base64url(SHA-256(body)) without padding, over the body that `identity` sends for `request`.
    """
    return urlsafe_b64encode(hashlib.sha256(_body(request)).digest()).rstrip(b"=").decode("ascii")


def _body(request: Mapping[str, Any] | None) -> bytes:
    try:
        return msgspec.json.encode(dict(request or {}), order="sorted")
    except (TypeError, ValueError) as unreadable:
        raise Unusable(f"The identity request is not JSON: {unreadable}") from unreadable


def _verified(mechanism: str | None, reference: str | None, token: str | None) -> dict[str, str]:
    """Return the header fields that say by what the signer was verified."""
    headers: dict[str, str] = {}
    if reference is not None:
        if mechanism is None:
            raise Unusable("A reference needs the id of its mechanism.")
        if not (reference.isascii() and reference.isprintable()):
            raise Unusable("A reference is printable ASCII.")
        # A string of structured fields (RFC 9651 §3.3.3).
        quoted = reference.replace("\\", "\\\\").replace('"', '\\"')
        headers["Identity-Verification"] = f'{mechanism}; ref="{quoted}"'
    elif mechanism is not None:
        headers["Identity-Verification"] = mechanism
    if token is not None:
        headers["Identity-Token"] = token
    return headers


def sign(session: Session, identity: Identity, digest: bytes) -> Exchange[bytes]:
    """Return the signature over a SHA-256 digest (32 bytes).

    RSA: PKCS#1 v1.5 over the DigestInfo; EC: a DER ECDSA-Sig-Value. Raises `NotFound`
    when the identity's ten minutes are over, `Forbidden` when no signatures are left.
    """
    path = f"/identity/{quote(identity.id, safe='')}/sign/{_digest_hex(digest)}"
    try:
        answer = yield from _call(session, "GET", path, answers.SignatureAnswer)
    except NotFound:
        session.forget_identity(identity)
        raise
    return answers.from_hex(answer.signature, "signature")


def timestamp(session: Session, digest: bytes) -> Exchange[bytes]:
    """Return a DER TimeStampToken (RFC 3161, a CMS ContentInfo) for a SHA-256 digest (32 bytes)."""
    answer = yield from _call(session, "GET", f"/timestamp/{_digest_hex(digest)}", answers.TimestampAnswer)
    return answers.from_base64(answer.token, "time-stamp token")


def certificate_path(session: Session) -> Exchange[tuple[str, ...]]:
    """Return the certificates between a signing certificate and the root, PEM, the issuer first."""
    answer = yield from _call(session, "GET", "/certificate_path", answers.PathAnswer)
    end = "-----END CERTIFICATE-----"
    blocks = tuple(f"{block.strip()}\n{end}\n" for block in answer.path.split(end) if block.strip())
    answers.certificates("".join(blocks))
    return blocks


def trustchain(session: Session) -> Exchange[Trustchain]:
    """Return the chain of trust with its revocation information, as it is now."""
    answer = yield from _call(session, "GET", "/trustchain", answers.TrustchainAnswer)
    if not answer.trustchain:
        raise UnexpectedAnswer("The chain of trust is empty.")
    return Trustchain(
        certs=tuple(answer.trustchain),
        ocsp=tuple(answers.from_base64(each, "OCSP response") for each in answer.ocsp_revocation_info),
    )


def validation_policy(session: Session) -> Exchange[dict[str, Any]]:
    """Return the account's validation policy: what an identity request may, must and must not say."""
    return (yield from _call(session, "GET", "/validationpolicy", dict[str, Any]))


def quota(session: Session, what: Literal["signatures", "timestamps"]) -> Exchange[int]:
    """Return how many signatures or time-stamps are left."""
    return (yield from _call(session, "GET", f"/quotas/{what}", answers.NumberAnswer)).value


def counter(session: Session, what: Literal["signatures", "timestamps", "identities"]) -> Exchange[int]:
    """Return how many signatures, time-stamps or identities were made."""
    return (yield from _call(session, "GET", f"/counters/{what}", answers.NumberAnswer)).value


def sandbox(session: Session) -> Exchange[Sandbox]:
    """Return how the test account's sandbox stands; raises `NotFound` for an account of production."""
    return (yield from _call(session, "GET", "/sandbox", Sandbox))


def advance_clock(session: Session, seconds: int) -> Exchange[Sandbox]:
    """Advance the test account's clock, at once; identities that were kept are made anew when next asked for."""
    body = msgspec.json.encode({"advance_seconds": seconds})
    found = yield from _call(session, "POST", "/sandbox/clock", Sandbox, body)
    session.identities = {}
    return found


def force_failures(session: Session, failures: Mapping[str, int | None]) -> Exchange[Sandbox]:
    """Have just these fail for the test account, each so often, or always where None is said."""
    wanted = [{"failure": failure, "remaining": remaining} for failure, remaining in failures.items()]
    body = msgspec.json.encode({"failures": wanted})
    return (yield from _call(session, "PUT", "/sandbox/failures", Sandbox, body))


def reset_sandbox(session: Session) -> Exchange[Sandbox]:
    """Set the test account's clock back to real time and have nothing fail; the next call logs in again."""
    found = yield from _call(session, "DELETE", "/sandbox", Sandbox)
    session.identities, session.token = {}, None
    return found


def _call(
    session: Session,
    method: str,
    path: str,
    answer: type[A],
    body: bytes | None = None,
    more: Mapping[str, str] | None = None,
) -> Exchange[A]:
    """Ask with a token, logging in first if need be and once again when the token is refused."""
    token = yield from _token(session, refused=None)
    reply = yield from _ask_with(session, token, method, path, body, more or {})
    if reply.status == 401:
        token = yield from _token(session, refused=token)
        reply = yield from _ask_with(session, token, method, path, body, more or {})
    return _read(reply, answer, session.clock())


def _ask_with(
    session: Session, token: Token, method: str, path: str, body: bytes | None, more: Mapping[str, str]
) -> Exchange[Reply]:
    headers = {"Authorization": f"Bearer {token.text}", **more}
    if body is not None:
        headers["Content-Type"] = JSON
    ask = Ask(method, path, headers, body, repeatable=method == "GET")
    return (yield from answered(ask, session.retries, session.clock()))


def _token(session: Session, refused: Token | None) -> Exchange[Token]:
    live = session.live_token()
    if live is not None and live != refused:
        return live
    # Callers that meet here together log in once: who waited finds the new token.
    yield Hold("login")
    live = session.live_token()
    if live is None or live == refused:
        live = yield from login(session)
    yield Free("login")
    return live


def _read(reply: Reply, answer: type[A], now: datetime) -> A:
    """Return the body as a record; raises the refusal that it is, or `UnexpectedAnswer`."""
    if reply.status != 200:
        raise _refusal(reply, now)
    try:
        return msgspec.json.decode(reply.body, type=answer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as unreadable:
        raise UnexpectedAnswer(f"The answer is not what this interface promises: {unreadable}") from unreadable


def _refusal(reply: Reply, now: datetime) -> Refused | UnexpectedAnswer:
    if reply.status < 400:
        return UnexpectedAnswer(f"The answer has HTTP status {reply.status}, which this interface does not use.")
    try:
        problem = msgspec.json.decode(reply.body, type=answers.ProblemAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = answers.ProblemAnswer()
    return refusal_for(reply.status)(
        problem.description or problem.detail or problem.title or "The service refused the request.",
        status=reply.status,
        id=problem.id,
        errors={field: str(wrong) for field, wrong in problem.errors.items()},
        retry_after=retry_after(reply, now),
    )


def _digest_hex(digest: bytes) -> str:
    if len(digest) != 32:
        raise Unusable(f"A SHA-256 digest has 32 bytes, not {len(digest)}.")
    return digest.hex().upper()
