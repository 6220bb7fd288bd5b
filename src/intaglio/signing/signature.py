"""Use case: sign a digest with the key of an identity."""

from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from intaglio.accounts.quota import Resource
from intaglio.accounts.sessions import Caller
from intaglio.errors import KeyUnavailable, NotFound
from intaglio.keys.algorithm import PrivateKey
from intaglio.ledger.entry import Event
from intaglio.signing import register
from intaglio.signing.digest import Digest
from intaglio.signing.engine import Engine, Spent
from intaglio.signing.forced import check_means, check_rate

_PREHASHED = Prehashed(hashes.SHA256())
_PKCS1 = padding.PKCS1v15()
_ECDSA = ec.ECDSA(_PREHASHED)


def not_found() -> NotFound:
    """Return the one refusal for an identity that is unknown, somebody else's, or over."""
    return NotFound("There is no such identity.", {"id": "not found: create an identity and use its id for 10 minutes"})


async def sign_digest(engine: Engine, caller: Caller, identity_id: str, digest: Digest, request_id: str) -> bytes:
    """Return the signature over `digest`: PKCS#1 v1.5 for RSA (RFC 8017 §8.2), DER for ECDSA (RFC 3279 §2.2.3).

    1. the identity is found, among the caller's own; 2. it is not over; 3. quota is spent and the entry written,
    durably, in a commit shared with concurrent requests, 4. while the key signs in another thread; 5. both done,
    the signature leaves; had the key failed, the quota is given back and the failure recorded.
    Who is too fast is refused before all that, and in 3 if it was elsewhere.
    Raises `RateLimited`, `NotFound`, `QuotaSpent` or a `ServiceFault`.
    """
    now = engine.clock.now()
    rate = engine.admit(caller, Resource.SIGNATURES, now)
    if caller.forced:
        await check_rate(engine, caller, Resource.SIGNATURES, request_id)
        now = engine.clock.now()
    # 1, 2
    # The account is part of the name, so that another account's identity is simply not found.
    owner = f"{caller.owner}/{identity_id}"
    key = engine.live.get(owner, now) or await _opened(engine, caller, identity_id, owner, now)
    if caller.forced:
        await check_means(engine, caller, Resource.SIGNATURES, request_id)
    # 3, 4
    event = Event(
        at=now,
        kind="signature.made",
        account_id=caller.account.id,
        reference=identity_id,
        request_id=request_id,
        details={"digest": digest.value.hex(), "credential": caller.credential_id, **caller.beside(now)},
    )
    spent = Spent(Resource.SIGNATURES, caller.account.id, event, rate)
    signing = await engine.beside(engine.spending.spend, spent, _sign, key, digest.value)
    # 5
    try:
        return signing.result()
    except Exception as error:
        # Where it was may be gone, and the key not: the next request opens it anew.
        engine.live.drop(owner)
        await engine.undo(spent, "signature.failed", error)
        raise KeyUnavailable(f"the key of {identity_id} could not sign: {error}") from error


async def _opened(engine: Engine, caller: Caller, identity_id: str, owner: str, now: datetime) -> PrivateKey:
    generation = engine.live.generation
    sealed = await engine.commits.read(
        lambda c: register.usable(c, identity_id, caller.account.id, now, engine.revoked)
    )
    if sealed is None:
        raise not_found()
    key = await engine.lanes.run(engine.open_key, sealed)
    engine.live.put(owner, key, sealed.not_after, generation)
    return key


def _sign(key: PrivateKey, digest: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, _PKCS1, _PREHASHED)
    return key.sign(digest, _ECDSA)
