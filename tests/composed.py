"""A service in this process whose housekeeping is the test's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from intaglio.clock import Clock, SystemClock
from intaglio.service.composition import Service, compose
from intaglio.service.heads import Heads
from intaglio.service.home import Home


@asynccontextmanager
async def composed(home: Home, clock: Clock | None = None) -> AsyncIterator[tuple[Service, Heads]]:
    """Run nothing but commits; what signs heads is returned with the service."""
    service = compose(home, clock or SystemClock())
    engine = service.engine
    engine.commits.start()
    await engine.commits.write(engine.stamps.begin)
    try:
        yield service, Heads(home, engine.commits, engine.lanes)
    finally:
        await engine.commits.stop()
        engine.lanes.shutdown()
        engine.pool.close()
