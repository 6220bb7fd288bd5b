"""What goes on beside the requests, again and again.

Some of it goes on in every process, the rest in one of all that share the database.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from intaglio.database.tenure import Tenure
from intaglio.errors import IntaglioError

_log = logging.getLogger("intaglio.service")

OFFICE = "housekeeping"
# How soon it is noticed that the work has come to this process.
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Work:
    """What is done every so many seconds; what `each` process does is of its own memory, else one does it for all."""

    name: str
    every_seconds: float
    do: Callable[[], Awaitable[object]]
    each: bool = False


async def keep_house(works: Sequence[Work], tenure: Tenure) -> None:
    """Do all of it for ever, none waiting for another; a failure is logged and tried again."""
    await asyncio.gather(*(_repeat(work, tenure) for work in works))


async def _repeat(work: Work, tenure: Tenure) -> None:
    while True:
        if not work.each and not tenure.held:
            await asyncio.sleep(min(_LOOK_SECONDS, work.every_seconds))
            continue
        try:
            await work.do()
        except IntaglioError as error:
            _log.warning("%s is tried again later: %s", work.name, error)
        except Exception:  # housekeeping must outlive any one failure
            _log.exception("%s failed and is tried again later", work.name)
        await asyncio.sleep(work.every_seconds)
