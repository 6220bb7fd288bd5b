"""Putting the parts together for serving, and the work that goes on beside the requests."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from intaglio import __version__
from intaglio.accounts.sessions import Sessions
from intaglio.clock import Clock, SystemClock
from intaglio.database.commits import Commits
from intaglio.database.engine import migrate, reading
from intaglio.errors import IntaglioError, StoreUnavailable
from intaglio.keys.live import LiveKeys
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import AUTHORITIES, FAMILIES, Hierarchy
from intaglio.pki.profiles import PROFILES, policy_oid
from intaglio.revocation.answers import Answers
from intaglio.revocation.ocsp import Responder
from intaglio.service.home import TOKEN_SECRET, Home
from intaglio.signing.destruction import destroy_expired
from intaglio.signing.engine import Engine, Spending
from intaglio.timestamping.authority import Authority

_log = logging.getLogger("intaglio.service")

_HOUSEKEEPING_SECONDS = 5.0


@dataclass(slots=True)
class Service:
    """The running service: what the doors work with."""

    home: Home
    engine: Engine
    sessions: Sessions
    draining: bool = False

    async def record(self, event: Event) -> None:
        """Write one entry, durably."""
        await self.engine.commits.together(self.engine.chain.append, event)

    async def ready(self) -> dict[str, str]:
        """Return what keeps the service from working, by part; empty when it is ready."""
        troubles: dict[str, str] = {}
        if self.draining:
            troubles["listener"] = "draining"
        try:
            await asyncio.wait_for(self.sessions.refresh(), 2)
        except (IntaglioError, TimeoutError):
            troubles["database"] = "does not answer"
        return troubles


def compose(home: Home, clock: Clock) -> Service:
    """Return the service of an opened home; raises `KeyUnavailable` when a key does not open."""
    settings = home.settings
    migrate(home.engine)
    with reading(home.engine) as connection:
        if not home.chain.begun(connection):
            raise StoreUnavailable("the database is empty: it is not the one that this service was made with")
    commits = Commits(home.engine, most_waiting=settings.limits.waiting_writes)
    issuers = {name: home.issuer(name) for name in AUTHORITIES}
    leaf = timedelta(hours=settings.status.leaf_hours)
    authority = timedelta(hours=settings.status.authority_hours)
    roots = {family.root for family in FAMILIES.values()}
    responders = {
        name: Responder(
            home.certificate(name),
            home.certificate(f"{name}-ocsp"),
            home.keyring.key(f"{name}-ocsp"),
            authority if name in roots else leaf,
        )
        for name in AUTHORITIES
    }
    authorities = {
        family.tsa: Authority(
            certificate=home.certificate(family.tsa),
            chain=[home.certificate(family.root)],
            key=home.keyring.key(family.tsa),
            policy=policy_oid(
                settings.policy_arc, PROFILES["tsa"].policy or "any", test=hierarchy == Hierarchy.TEST
            ).dotted_string,
            accuracy=timedelta(milliseconds=settings.timestamp.accuracy_ms),
        )
        for hierarchy, family in FAMILIES.items()
    }
    engine = Engine(
        clock=clock,
        commits=commits,
        chain=home.chain,
        spending=Spending(home.chain),
        custody=home.identity_custody,
        live=LiveKeys(settings.keys.live_keys),
        threads=ThreadPoolExecutor(settings.keys.signing_threads, thread_name_prefix="sign"),
        issuers=issuers,
        responders=responders,
        authorities=authorities,
        answers=Answers(responders, issuers, commits),
    )

    def changed() -> None:
        engine.answers.forget()
        engine.live.clear()

    sessions = Sessions(commits, home.keyring.secret(TOKEN_SECRET), settings.token_lifetime, changed)
    return Service(home, engine, sessions)


@asynccontextmanager
async def running(home: Home, clock: Clock | None = None) -> AsyncIterator[Service]:
    """Run the service's own work for as long as the block lasts: commits, staying current, housekeeping."""
    service = compose(home, clock or SystemClock())
    engine = service.engine
    engine.commits.start()
    await service.sessions.refresh()
    await service.record(Event(engine.clock.now(), "service.started", details={"version": __version__}))
    tasks = [
        asyncio.create_task(service.sessions.watch(), name="watch"),
        asyncio.create_task(_keep_house(service), name="housekeeping"),
    ]
    try:
        yield service
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        await engine.commits.stop()
        engine.threads.shutdown()
        home.engine.dispose()


async def _keep_house(service: Service) -> None:
    """Destroy what is over and publish what is due, for ever; a failure is logged and tried again."""
    engine = service.engine
    while True:
        try:
            await destroy_expired(engine)
        except IntaglioError as error:
            _log.warning("keys will be destroyed later: %s", error)
        try:
            for name in engine.issuers:
                await engine.answers.revocation_list(name, engine.clock.now())
        except IntaglioError as error:
            _log.warning("revocation lists will be made later: %s", error)
        except Exception:  # housekeeping must outlive any one failure
            _log.exception("housekeeping failed and will be tried again")
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
