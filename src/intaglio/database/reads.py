"""Reading beside the event loop, which waits for no database that hangs."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from intaglio.database.engine import reading
from intaglio.errors import StoreUnavailable

R = TypeVar("R")

HANGS = "the database does not answer"
_THREADS = 2


class Reads:
    """The reading lane of one process: nobody waits longer than `patience_seconds`."""

    def __init__(self, engine: Engine, patience_seconds: float) -> None:
        self._engine = engine
        self._patience = patience_seconds
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="read")
        # Threads that were given up and have not come back.
        self._stuck = 0

    async def read(self, work: Callable[[Connection], R]) -> R:
        """Do one piece of reading in another thread; raises what it raises, or `StoreUnavailable`."""

        def run() -> R:
            with reading(self._engine) as connection:
                return work(connection)

        if self._stuck >= _THREADS:
            raise StoreUnavailable(HANGS)
        done = asyncio.get_running_loop().run_in_executor(self._threads, run)
        try:
            finished, _ = await asyncio.wait([done], timeout=self._patience)
        except asyncio.CancelledError:
            done.cancel()
            raise
        if finished:
            return done.result()
        self._stuck += 1
        done.add_done_callback(self._back)
        raise StoreUnavailable(HANGS)

    def _back(self, done: "asyncio.Future[Any]") -> None:
        self._stuck -= 1
        # Whatever it was, nobody waits for it.
        if not done.cancelled():
            done.exception()

    def end(self) -> None:
        """Let the threads end; those that hang are not waited for."""
        self._threads.shutdown(wait=not self._stuck, cancel_futures=True)
