"""Putting the parts together for serving, and the work that goes on beside the requests."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from intaglio import __version__
from intaglio.accounts import sandbox
from intaglio.accounts.rates import Limits
from intaglio.accounts.sandbox import Failure
from intaglio.accounts.sessions import SANDBOXED, Sessions
from intaglio.accounts.verification.jwks import Keysets
from intaglio.accounts.verification.nonce import Nonces
from intaglio.accounts.verification.proof import Prover
from intaglio.clock import Clock, SystemClock
from intaglio.database.commits import Commits
from intaglio.database.engine import check_durable, migrate, transaction, truncate_log
from intaglio.database.notices import Notices
from intaglio.database.tenure import Tenure
from intaglio.errors import ContentRefused, StoreUnavailable
from intaglio.keys.lanes import Lanes
from intaglio.keys.live import LiveKeys
from intaglio.ledger.entry import Event
from intaglio.ledger.refusals import Refusals
from intaglio.ledger.writer import Chain
from intaglio.revocation.answers import Answers
from intaglio.service.archive import ARCHIVING_SECONDS, archive_certificates
from intaglio.service.elsewhere import FOREIGN_SECONDS, WEBHOOK_SECONDS, post_heads, stamp_elsewhere
from intaglio.service.figures import Figures
from intaglio.service.following import follow, refresh
from intaglio.service.heads import HEAD_SECONDS, sign_heads
from intaglio.service.home import TOKEN_SECRET, Home
from intaglio.service.housekeeping import OFFICE, Work, keep_house
from intaglio.service.lost import give_up_lost
from intaglio.service.rates import rate_of, usual_rates
from intaglio.service.readiness import Readiness
from intaglio.service.refill import key_pool
from intaglio.service.serving import Serving
from intaglio.service.stamping import STAMPING_SECONDS, stamp_heads
from intaglio.service.timekeeping import Timekeeping, trust_of
from intaglio.settings import Settings
from intaglio.signing.destruction import destroy_expired, forget_expired
from intaglio.signing.engine import Engine, Spending
from intaglio.signing.forced import taken
from intaglio.signing.issuance import Issuance
from intaglio.signing.stamps import Stamps
from intaglio.spans import Spans

_log = logging.getLogger("intaglio.service")

_HOUSEKEEPING_SECONDS = 5.0
_ENDED = "service.ended"


@dataclass(slots=True)
class Service:
    """The running service: what the doors work with."""

    home: Home
    engine: Engine
    sessions: Sessions
    serving: Serving
    refusals: Refusals
    readiness: Readiness
    figures: Figures = field(default_factory=Figures)
    spans: Spans | None = None
    draining: bool = False

    async def record(self, event: Event) -> None:
        """Write one entry, durably."""
        await self.engine.commits.together(self.engine.chain.append, event)

    async def ready(self) -> dict[str, str]:
        """Return what keeps the service from working, by part; empty when it is ready."""
        found = await self.readiness.troubles()
        return {"listener": "draining", **found} if self.draining else found


def compose(home: Home, clock: Clock, place: int = 0) -> Service:
    """Return the service of an opened home as the `place`th process of its node has it.

    Raises `KeyUnavailable` when a key does not open.
    """
    settings = home.settings
    with transaction(home.engine) as connection:
        check_durable(connection)
        migrate(connection)
        if not home.chain.begun(connection):
            raise StoreUnavailable("the database is empty: it is not the one that this service was made with")
        if home.engine.dialect.name == "sqlite":
            # Elsewhere another node may have what is not here.
            give_up_lost(connection, home.chain, home.path, settings, clock.now())
    # No two processes wait for each other to append.
    chain = Chain(home.chain.actor, f"{settings.node}:{place}")
    spans = _spans(settings)
    commits = Commits(
        home.engine,
        most_waiting=settings.limits.waiting_writes,
        patience_seconds=settings.database.patience_seconds,
        spans=spans,
    )
    lanes = Lanes("sign", settings.keys.signing_threads, home.patience_seconds, spans=spans)
    secret = home.keyring.secret(TOKEN_SECRET)
    trusted = settings.verification.ca_file
    limits = Limits()
    stamps = Stamps(timedelta(milliseconds=settings.timestamp.accuracy_ms))
    spending = Spending(chain, limits, stamps)
    commits.beside(chain.name, (spending.spend, spending.stamp, chain.append))
    serving = Serving()
    serving.take(serving.open(home, home.roster()))

    def unknown_now(connection: Connection, account_id: str, now: datetime) -> bool:
        return taken(connection, chain, account_id, Failure.OCSP_UNKNOWN, now, None, {"resource": "ocsp"})

    engine = Engine(
        clock=clock,
        trust=trust_of(settings),
        commits=commits,
        chain=chain,
        spending=spending,
        stamps=stamps,
        limits=limits,
        failed_logins=rate_of(settings.rates.failed_logins),
        issuance=Issuance(chain, commits, clock, limits),
        pool=key_pool(home, commits, clock),
        custodies=home.custodies,
        live=LiveKeys(settings.keys.live_keys if settings.hsm is None else settings.hsm.live_keys),
        lanes=lanes,
        families=serving.families,
        revoked=serving.revoked,
        above=serving.above,
        issuers=serving.issuers,
        responders=serving.responders,
        authorities=serving.authorities,
        answers=Answers(serving.responders, serving.issuers, commits, lanes, chain, sandbox.told_by, unknown_now),
        prover=Prover(
            commits,
            clock,
            Keysets(None if trusted is None else home.path / trusted),
            Nonces(secret),
            home.evidence,
            evidence_days=settings.verification.evidence_days,
            loopback_http=settings.verification.loopback_http,
            overwrite=lambda: truncate_log(home.engine),
        ),
    )

    def changed() -> None:
        engine.answers.forget()
        engine.live.clear()
        serving.news.set()

    def sandboxes_changed() -> None:
        engine.answers.forget_tests()
        engine.live.drop_beginning(SANDBOXED)

    sessions = Sessions(
        commits, secret, settings.token_lifetime, usual_rates(settings.rates), changed, sandboxes_changed
    )
    return Service(home, engine, sessions, serving, Refusals(), Readiness(home, engine, sessions), spans=spans)


def _spans(settings: Settings) -> Spans | None:
    if settings.tracing.endpoint is None:
        return None
    try:
        # Who does not trace need not have it.
        from intaglio.service.tracing import Tracing  # noqa: PLC0415
    except ImportError as error:
        reason = "needs more to be installed: pip install 'intaglio[tracing]'"
        raise ContentRefused("Traces cannot be sent.", {"tracing.endpoint": reason}) from error
    return Tracing(settings.tracing)


@asynccontextmanager
async def running(home: Home, clock: Clock | None = None, place: int = 0) -> AsyncIterator[Service]:
    """Run the service's own work for as long as the block lasts: commits, staying current, housekeeping."""
    service = compose(home, clock or SystemClock(), place)
    engine = service.engine
    engine.commits.start()
    await service.sessions.refresh()
    await refresh(home, engine, service.serving)
    await engine.commits.write(engine.stamps.begin)
    await engine.commits.write(partial(_begun, service))
    timekeeping = Timekeeping(home.settings.clock, engine.clock, engine.trust, service.record)
    await timekeeping.check()
    tenure = Tenure(home.engine, OFFICE)
    await asyncio.to_thread(tenure.start)
    news = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        loop.call_soon_threadsafe(news.set)

    notices = Notices(home.engine, told)
    notices.start()
    tasks = [
        asyncio.create_task(timekeeping.keep(), name="clock"),
        asyncio.create_task(service.sessions.watch(news), name="watch"),
        asyncio.create_task(follow(home, engine, service.serving), name="hierarchy"),
        asyncio.create_task(keep_house(_works(service), tenure), name="housekeeping"),
    ]
    try:
        yield service
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(notices.stop)
        await asyncio.to_thread(tenure.stop)
        with suppress(StoreUnavailable):
            await _sum_up(service, all_of_them=True)
            await service.record(Event(engine.clock.now(), _ENDED))
        timekeeping.end()
        await engine.prover.close()
        await engine.commits.stop()
        engine.lanes.shutdown()
        engine.pool.close()
        if service.spans is not None:
            await service.spans.close()
        # The token is let go of by the process that ends: closing its sessions could hang.
        home.engine.dispose()


def _begun(service: Service, connection: Connection) -> None:
    """Write that the service has begun and, unless it had ended before, after which entry it was cut off."""
    engine = service.engine
    details: dict[str, object] = {"version": __version__, "clock": service.home.settings.clock.source}
    last = engine.chain.last(connection)
    if last is not None and last[1] != _ENDED:
        # What was written until then may have reached nobody.
        details["interrupted_after"] = last[0]
    engine.chain.append(connection, [Event(engine.clock.now(), "service.started", details=details)])


async def _sum_up(service: Service, *, all_of_them: bool = False) -> None:
    """Write what was counted of refusals."""
    engine = service.engine
    events = service.refusals.summaries(engine.clock.now(), all_of_them=all_of_them)
    if events:
        await engine.commits.write(lambda connection: engine.chain.append(connection, events))
        service.refusals.written(events)


def _works(service: Service) -> list[Work]:
    """Return what is to be done beside the requests."""
    engine = service.engine

    async def publish_due() -> None:
        for name in list(engine.issuers):
            await engine.answers.revocation_list(name, engine.clock.now())

    every = _HOUSEKEEPING_SECONDS
    return [
        Work("forgetting what is over", every, partial(forget_expired, engine), each=True),
        Work("telling of refusals", every, partial(_sum_up, service), each=True),
        Work(
            "the archive of certificates",
            ARCHIVING_SECONDS,
            archive_certificates(service.home.settings, engine, service.serving),
        ),
        Work("destruction", every, partial(destroy_expired, engine)),
        Work("the publication of lists", every, publish_due),
        Work("the signing of heads", HEAD_SECONDS, sign_heads(service.home, engine)),
        Work("the stamping of heads", STAMPING_SECONDS, stamp_heads(service.home, engine)),
        Work("the webhook of heads", WEBHOOK_SECONDS, post_heads(service.home, engine)),
        Work("the stamping of heads elsewhere", FOREIGN_SECONDS, stamp_elsewhere(service.home, engine)),
        Work("the erasure of evidence", every, partial(engine.prover.forget, engine.chain)),
    ]
