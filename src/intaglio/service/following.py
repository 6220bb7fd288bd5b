"""A running service follows its hierarchy: who serves, whose certificates are revoked, which lists end soon."""

import asyncio
import logging
from datetime import datetime, timedelta

from intaglio.errors import IntaglioError
from intaglio.service.authorities.lists import shortages
from intaglio.service.authorities.standing import revoked_of
from intaglio.service.home import Home
from intaglio.service.serving import Serving
from intaglio.signing.engine import Engine

_log = logging.getLogger("intaglio.service")

_SECONDS = 5.0
_AGAIN_SECONDS = 1.0
_TELL_EVERY = timedelta(hours=1)


async def follow(home: Home, engine: Engine, serving: Serving) -> None:
    """Follow for ever: at once when something administrative changed, else every few seconds."""
    told: datetime | None = None
    while True:
        try:
            async with asyncio.timeout(_SECONDS):
                await serving.news.wait()
        except TimeoutError:
            pass
        serving.news.clear()
        try:
            await refresh(home, engine, serving)
            now = engine.clock.now()
            if told is None or now >= told + _TELL_EVERY:
                told = now
                await warn(engine, serving, now)
        except IntaglioError as error:
            _log.warning("the hierarchy is followed later: %s", error)
            await asyncio.sleep(_AGAIN_SECONDS)
            serving.news.set()
        except Exception:  # following must outlive any one failure
            _log.exception("the hierarchy could not be followed and will be tried again")


async def refresh(home: Home, engine: Engine, serving: Serving) -> None:
    """Take notice of the hierarchy as it is now; raises what keeps a new member from working.

    What is revoked comes first: nothing that is wrong with a new member may delay it.
    """
    await _refresh_revoked(engine, serving)
    roster = home.roster()
    if roster != serving.roster:
        # Keys are opened beside the event loop; until all are, those who served go on.
        serving.take(await engine.lanes.run(serving.open, home, roster))
        engine.answers.learn()
        _log.info(
            "the hierarchy is followed", extra={"families": {str(k): v.issuing for k, v in roster.families.items()}}
        )
        await _refresh_revoked(engine, serving)


async def _refresh_revoked(engine: Engine, serving: Serving) -> None:
    certificates = dict(serving.certificates)
    revoked = await engine.commits.read(lambda connection: revoked_of(connection, certificates))
    fresh = revoked - serving.revoked
    if fresh:
        serving.revoked.update(fresh)
        # What was looked up meanwhile was not asked about this.
        engine.live.clear()
        for name in sorted(fresh):
            _log.error("the certificate of %s is revoked: it signs nothing more here", name)


async def warn(engine: Engine, serving: Serving, now: datetime) -> None:
    """Log which imported lists have to be replaced soon."""
    roster = serving.roster
    if roster is None:
        return
    for shortage in await engine.commits.read(lambda connection: shortages(connection, roster, now)):
        _log.warning("%s", shortage.told(now))
