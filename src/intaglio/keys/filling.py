"""Filling the pool between its water marks, beside and behind everything else that the machine does."""

import asyncio
import logging
import time
from collections.abc import Callable

from intaglio.clock import Clock
from intaglio.database.commits import Commits
from intaglio.errors import IntaglioError
from intaglio.keys import register
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.custody import SealedKey
from intaglio.keys.pool import Pool

_log = logging.getLogger("intaglio.keys")

_LOOK_SECONDS = 0.25
_AFTER_FAILURE_SECONDS = 5.0
# What was made in this time shares a durable write, for which whoever signs may have to wait.
_SHARE_SECONDS = 1.0


class Filler:
    """Makes keys, `makers` at a time, while the pool asks for them."""

    def __init__(self, pool: Pool, commits: Commits, clock: Clock, makers: int) -> None:
        self._pool = pool
        self._commits = commits
        self._clock = clock
        self._makers = makers
        self._filling: set[KeyAlgorithm] = set()

    async def work(self) -> None:
        """Keep the pool between its marks, for ever; a failure is logged and tried again."""
        while True:
            pause = _LOOK_SECONDS
            try:
                if await self.fill():
                    continue
            except IntaglioError as error:
                _log.warning("the key pool cannot be filled now: %s", error)
                pause = _AFTER_FAILURE_SECONDS
            await asyncio.sleep(pause)

    async def fill(self) -> int:
        """Make one share of keys, if any algorithm asks for it; return how many."""
        marks = self._pool.rules.marks
        depth = await self.depth()
        for algorithm, mark in marks.items():
            if depth[algorithm] < mark.low:
                self._filling.add(algorithm)
            elif depth[algorithm] >= mark.high:
                self._filling.discard(algorithm)
        if not self._filling:
            return 0
        # What is emptiest by its own measure comes first.
        algorithm = min(self._filling, key=lambda one: depth[one] / marks[one].high)
        return await self._make(algorithm, marks[algorithm].high - depth[algorithm])

    async def top_up(self, progress: Callable[[KeyAlgorithm, int, int], None]) -> int:
        """Fill everything to its high mark now, telling algorithm, depth and mark; return how many were made."""
        made = 0
        for algorithm, mark in self._pool.rules.marks.items():
            while (present := (await self.depth())[algorithm]) < mark.high:
                progress(algorithm, present, mark.high)
                made += await self._make(algorithm, mark.high - present)
            progress(algorithm, present, mark.high)
        return made

    async def depth(self) -> dict[KeyAlgorithm, int]:
        """Return how many keys are ready, by algorithm."""
        until, form = self._clock.now() + register.MARGIN, self._pool.custody.form
        found = await self._commits.read(lambda connection: register.depth(connection, form, until))
        return {algorithm: found.get(algorithm, 0) for algorithm in self._pool.rules.marks}

    async def _make(self, algorithm: KeyAlgorithm, missing: int) -> int:
        """Make keys for a while, and no more than are missing; what was made is kept even if a maker fails."""
        keys: list[SealedKey] = []
        until = time.monotonic() + _SHARE_SECONDS
        begun = 0

        async def work() -> None:
            nonlocal begun
            while begun < missing and time.monotonic() < until:
                begun += 1
                keys.append(await self._pool.make(algorithm))

        outcomes = await asyncio.gather(*(work() for _ in range(self._makers)), return_exceptions=True)
        if keys:
            await self._commits.write(lambda connection: register.add(connection, keys))
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        return len(keys)
