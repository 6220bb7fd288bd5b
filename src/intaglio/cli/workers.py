"""The further processes of a node that serve (`intaglio.cli.worker`), kept by the first.

They share its sockets, the home and the database, and nothing else: to each other they are nodes.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from intaglio.errors import StoreUnavailable
from intaglio.service import child

_log = logging.getLogger("intaglio.service")

_BEGIN_SECONDS = 60.0
_AGAIN_SECONDS = 1.0
# After its requests were given their time, for what else a process does to end.
_END_SECONDS = 5.0


@asynccontextmanager
async def workers(
    path: Path, number: int, sockets: Sequence[socket.socket], drain_seconds: float
) -> AsyncIterator[Callable[[], None]]:
    """Keep so many at work for as long as the block lasts, which begins when all are; yield what has them end.

    Raises `StoreUnavailable` if one ends before it has begun.
    """
    files = [one.fileno() for one in sockets]
    begun = [asyncio.Event() for _ in range(number)]
    tasks = [
        asyncio.create_task(_keep(path, place, files, event, drain_seconds + _END_SECONDS), name=f"worker {place}")
        for place, event in enumerate(begun, 1)
    ]

    def end() -> None:
        for task in tasks:
            task.cancel()

    try:
        for task, event in zip(tasks, begun, strict=True):
            waiting = asyncio.create_task(event.wait())
            await asyncio.wait({task, waiting}, timeout=_BEGIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not event.is_set():
                raise StoreUnavailable("a further process did not begin to serve: the log says why")
        yield end
    finally:
        end()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep(path: Path, place: int, files: Sequence[int], begun: asyncio.Event, patience_seconds: float) -> None:
    arguments = (str(path), str(place), *map(str, files))
    while True:
        ended = await child.run(
            "intaglio.cli.worker", *arguments, files=files, ready=begun.set, patience_seconds=patience_seconds
        )
        if not begun.is_set():
            return
        _log.error("process %s of those that serve ended (%s) and is started again", place, ended)
        await asyncio.sleep(_AGAIN_SECONDS)
