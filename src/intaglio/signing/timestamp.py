"""Use cases: stamp a digest for an account, and answer an RFC 3161 request from anybody."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from intaglio.accounts.quota import Resource
from intaglio.accounts.sessions import Caller
from intaglio.errors import ClockUntrusted
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import Hierarchy
from intaglio.signing.digest import Digest
from intaglio.signing.engine import Engine, Spent
from intaglio.signing.forced import check_means, check_rate
from intaglio.timestamping.tsp import MessageImprint, StampRefused, granted, rejected, sha256_imprint


async def stamp_digest(engine: Engine, caller: Caller, digest: Digest, request_id: str) -> bytes:
    """Return a TimeStampToken over a SHA-256 digest, DER, certificates included.

    1. the time is taken; 2. quota is spent and the entry written, durably, in a commit shared with concurrent
    requests, 3. while the token is signed in another thread; 4. both done, the token leaves; had it failed, the
    quota is given back and the failure recorded.
    Who is too fast is refused before all that, and in 2 if it was elsewhere.
    Raises `RateLimited`, `QuotaSpent` or a `ServiceFault`.
    """
    if caller.forced:
        await check_rate(engine, caller, Resource.TIMESTAMPS, request_id)
        await check_means(engine, caller, Resource.TIMESTAMPS, request_id)
    # 1
    now = engine.clock.now()
    engine.trust.check(now)
    rate = engine.admit(caller, Resource.TIMESTAMPS, now)
    time = caller.time(now)
    tsa = engine.stamping(caller.account.hierarchy)
    serial = engine.stamps.serial()
    imprint = sha256_imprint(digest.value)
    # 2, 3
    event = _event(now, tsa, serial, imprint, request_id, caller.account.id, caller.beside(now))
    spent = Spent(Resource.TIMESTAMPS, caller.account.id, event, rate)
    stamp = engine.authorities[tsa].stamp
    try:
        stamping = await engine.beside(engine.spending.stamp, spent, stamp, imprint, serial, time, apart=time != now)
    except ClockUntrusted as error:
        await engine.record_failure(event, "timestamp.refused", error)
        raise
    # 4
    try:
        return stamping.result()
    except Exception as error:
        await engine.undo(spent, "timestamp.failed", error)
        raise


async def answer_request(engine: Engine, der: bytes, hierarchy: Hierarchy, request_id: str) -> bytes:
    """Return the TimeStampResp to a DER TimeStampReq; refusals are answers too (RFC 3161 §2.4.2).

    Raises a `ServiceFault` when the time cannot be trusted or the entry not be written.
    """
    now = engine.clock.now()
    engine.trust.check(now)
    tsa = engine.stamping(hierarchy)
    try:
        request = engine.authorities[tsa].read(der)
    except StampRefused as refusal:
        await engine.commits.together(
            engine.chain.append,
            Event(now, "timestamp.refused", request_id=request_id, details={"failure": refusal.failure.name}),
        )
        return rejected(refusal.failure, str(refusal))
    serial = engine.stamps.serial()
    event = _event(now, tsa, serial, request.message_imprint, request_id, None)
    try:
        stamping = await engine.beside(
            engine.spending.stamp,
            event,
            engine.authorities[tsa].stamp,
            request.message_imprint,
            serial,
            now,
            request.nonce,
            cert_req=request.cert_req,
        )
    except ClockUntrusted as error:
        await engine.record_failure(event, "timestamp.refused", error)
        raise
    try:
        return granted(stamping.result())
    except Exception as error:
        await engine.record_failure(event, "timestamp.failed", error)
        raise


def _event(
    now: datetime,
    tsa: str,
    serial: int,
    imprint: MessageImprint,
    request_id: str,
    account_id: str | None,
    beside: Mapping[str, datetime] = MappingProxyType({}),
) -> Event:
    return Event(
        at=now,
        kind="timestamp.made",
        account_id=account_id,
        reference=f"{serial:x}",
        request_id=request_id,
        details={"tsa": tsa, "imprint": imprint.hashed_message.hex(), **beside},
    )
