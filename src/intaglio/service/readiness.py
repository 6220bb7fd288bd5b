"""Whether requests should be sent here. Anybody may ask, as often as they like: all who ask meanwhile share a look."""

import asyncio
import time

from intaglio.accounts.sessions import Sessions
from intaglio.errors import IntaglioError
from intaglio.service.home import Home
from intaglio.signing.engine import Engine

# How long what was found is told again.
KEPT_SECONDS = 0.5
_PATIENCE_SECONDS = 2


class Readiness:
    """What keeps the service from working, by part: there is one look at a time, and two a second at most."""

    def __init__(self, home: Home, engine: Engine, sessions: Sessions) -> None:
        self._home = home
        self._engine = engine
        self._sessions = sessions
        self._look: asyncio.Task[dict[str, str]] | None = None
        self._ended = 0.0

    async def troubles(self) -> dict[str, str]:
        """Return what was found by the look that goes on, or by the one before, if that was just now."""
        if self._look is None or (self._look.done() and time.monotonic() >= self._ended + KEPT_SECONDS):
            self._look = asyncio.create_task(self._looked())
        # Who asked first may go away.
        return dict(await asyncio.shield(self._look))

    async def _looked(self) -> dict[str, str]:
        engine, troubles = self._engine, dict[str, str]()
        try:
            await asyncio.wait_for(self._sessions.refresh(), _PATIENCE_SECONDS)
        except (IntaglioError, TimeoutError):
            troubles["database"] = "does not answer"
        clock = engine.trust.trouble(engine.clock.now())
        if clock is not None:
            troubles["clock"] = clock
        if engine.lanes.lost or engine.pool.hung:
            troubles["keys"] = "the token does not answer"
        elif self._home.token is not None:
            try:
                await asyncio.wait_for(engine.lanes.run(self._home.token.check), _PATIENCE_SECONDS)
            except (IntaglioError, TimeoutError):
                troubles["keys"] = "the token does not answer"
        self._ended = time.monotonic()
        return troubles
