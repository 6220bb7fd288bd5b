"""Use cases: stamp a digest for an account, and answer an RFC 3161 request from anybody."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from types import MappingProxyType

from intaglio.accounts.quota import Resource
from intaglio.accounts.sessions import Caller
from intaglio.errors import ClockUntrusted
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import Hierarchy
from intaglio.signing.digest import Digest
from intaglio.signing.engine import Engine, Spent
from intaglio.signing.forced import check_means, check_rate
from intaglio.timestamping.tsp import StampRefused, granted, rejected, sha256_imprint


async def stamp_digest(engine: Engine, caller: Caller, digest: Digest, request_id: str) -> bytes:
    """Return a TimeStampToken over a SHA-256 digest, DER, certificates included.

    1. the time is taken; 2. quota is spent and the entry written, durably, in a commit shared with concurrent
    requests, 3. while the token is signed in another thread; 4. both done, the token leaves; had it failed, the
    quota is given back and the failure recorded.
    Who is too fast is refused before all that, and in 2 if it was elsewhere.
    Raises `RateLimited`, `QuotaSpent` or a `ServiceFault`.
    """
    now = engine.clock.now()
    rate = engine.admit(caller, Resource.TIMESTAMPS, now)
    if caller.forced:
        await check_rate(engine, caller, Resource.TIMESTAMPS, request_id)
        await check_means(engine, caller, Resource.TIMESTAMPS, request_id)
        now = engine.clock.now()
    # 1
    engine.trust.check(now)
    time = caller.time(now)
    tsa = engine.stamping(caller.account.hierarchy)
    serial = engine.stamps.serial()
    event = _event(now, tsa, serial, digest.value, request_id, caller.account.id, caller.beside(now))
    spent = Spent(Resource.TIMESTAMPS, caller.account.id, event, rate)
    sign = partial(engine.authorities[tsa].stamp, sha256_imprint(digest.value), serial)
    # 2, 3, 4
    return await _made(engine, spent, sign, None if time == now else time)


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
    imprint, nonce = request.message_imprint, request.nonce
    event = _event(now, tsa, serial, imprint.hashed_message, request_id, None)
    sign = partial(engine.authorities[tsa].stamp, imprint, serial, nonce=nonce, cert_req=request.cert_req)
    return granted(await _made(engine, event, sign))


async def _made(
    engine: Engine, wanted: Spent | Event, sign: Callable[[datetime], bytes], apart: datetime | None = None
) -> bytes:
    """Return what is signed, once quota is spent and the entry written, durably.

    It tells the time of the entry, and is then signed meanwhile, unless another process has told a later one; or the
    time `apart`, of a test account's own clock, which is compared with nobody's.
    """
    event = wanted.event if isinstance(wanted, Spent) else wanted
    time = apart or event.at
    meanwhile = engine.lanes.submit(sign, time) if apart or engine.stamps.alone else None
    try:
        told = await engine.commits.together(engine.spending.stamp, wanted, beside=meanwhile)
    except BaseException as error:
        if meanwhile is not None:
            meanwhile.cancel()
        if isinstance(error, ClockUntrusted):
            await engine.record_failure(event, "timestamp.refused", error)
        raise
    try:
        if meanwhile is not None and (apart or told == time):
            return meanwhile.result()
        # What was signed meanwhile, if anything, tells a time that is before one that has left: it is thrown away.
        return await engine.lanes.run(sign, told)
    except Exception as error:
        if isinstance(wanted, Spent):
            await engine.undo(wanted, "timestamp.failed", error)
        else:
            await engine.record_failure(event, "timestamp.failed", error)
        raise


def _event(
    now: datetime,
    tsa: str,
    serial: int,
    imprint: bytes,
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
        details={"tsa": tsa, "imprint": imprint.hex(), **beside},
    )
