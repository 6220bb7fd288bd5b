"""The key pool of a home, and the process that fills it: `python -m intaglio.service.refill HOME`.

Making keys takes a hundred times the work of a signature. It is done in a process of its own, by threads that run only
when no other wants the processor; all it shares with the service is the database (and the token, where there is one).
Its commits do not step back: they hold a lock that the service waits for.
"""

import asyncio
import logging
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import uvloop

from intaglio import logs
from intaglio.clock import Clock, SystemClock
from intaglio.database.commits import Commits
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.filling import Filler
from intaglio.keys.lanes import Lanes
from intaglio.keys.pool import Pool, Rules, WhenEmpty
from intaglio.keys.priority import give_way, step_back
from intaglio.keys.register import Marks
from intaglio.keys.seclusion import seclude
from intaglio.service import child
from intaglio.service.home import Home, open_home
from intaglio.settings import Settings

_log = logging.getLogger("intaglio.service")

# So many times as long as a signature may a key pair take: where a request waits for it, and where nobody does.
# RSA-4096 takes minutes on some tokens.
_WAITED_FOR = 3
_AHEAD = 30
_RESTART_SECONDS = 5.0


def rules(settings: Settings) -> Rules:
    """Return how the pool is run."""
    pool = settings.pool
    return Rules(
        marks={KeyAlgorithm(name): Marks(mark.low, mark.high) for name, mark in pool.marks.items()},
        age=timedelta(minutes=pool.age_minutes),
        epoch=timedelta(minutes=settings.keys.epoch_minutes),
        when_empty=WhenEmpty(pool.when_empty),
        wait_seconds=pool.wait_seconds,
    )


def key_pool(home: Home, commits: Commits, clock: Clock) -> Pool:
    """Return the pool as a process that serves sees it: one key at a time is made where a request waits for it."""
    return _pool(home, commits, clock, Lanes("make", 1, _patience(home, _WAITED_FOR), give_way))


def _patience(home: Home, factor: int) -> float | None:
    return None if home.patience_seconds is None else factor * home.patience_seconds


def _pool(home: Home, commits: Commits, clock: Clock, lanes: Lanes) -> Pool:
    owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"
    return Pool(home.custodies[home.identities], commits, lanes, clock, rules(home.settings), owner)


@asynccontextmanager
async def filler(home: Home, makers: int, manner: Callable[[], None]) -> AsyncIterator[Filler]:
    """Run what fills the pool of `home` in this process, for as long as the block lasts; makers begin with `manner`."""
    commits = Commits(home.engine)
    commits.start()
    clock = SystemClock()
    pool = _pool(home, commits, clock, Lanes("make", makers, _patience(home, _AHEAD), manner))
    try:
        yield Filler(pool, commits, clock, makers)
    finally:
        pool.close()
        await commits.stop()
        home.engine.dispose()


@asynccontextmanager
async def filling(home: Home) -> AsyncIterator[None]:
    """Keep a process at work that fills the pool, for as long as the block lasts, unless this node makes none."""
    if home.settings.pool.makers == 0:
        yield
        return
    async with child.kept(_keep_filling(home.path), "refill"):
        yield


async def _keep_filling(path: Path) -> None:
    while True:
        ended = await child.run("intaglio.service.refill", str(path))
        _log.warning("what fills the key pool ended (%s) and is started again", ended)
        await asyncio.sleep(_RESTART_SECONDS)


async def _work(home: Home) -> None:
    async with filler(home, home.settings.pool.makers, step_back) as found:
        work = asyncio.create_task(found.work())
        parent = asyncio.create_task(child.parent_gone())
        await asyncio.wait({work, parent}, return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


def main() -> None:
    """Fill the pool of the home named on the command line until standard input ends."""
    seclude()
    home = open_home(Path(sys.argv[1]), actor="refill")
    logs.configure(home.settings.log.level)
    uvloop.run(_work(home))


if __name__ == "__main__":
    main()
