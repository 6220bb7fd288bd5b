"""Things that are taken durably in shares and given out one by one: a busy process takes some ahead of demand."""

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from intaglio.errors import StoreUnavailable

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_MOST_AHEAD = 32
# Who needs another share so soon after the last one is busy, and takes twice as many.
_BUSY_SECONDS = 0.5


class Ahead(Generic[K, T]):
    """One process's things of each kind; `fetch` takes up to so many of a kind, durably, for this process alone.

    What is not `usable` any more when its turn comes is passed over. At most `most_waiting` wait for a share.
    """

    def __init__(
        self,
        fetch: Callable[[K, int], Awaitable[list[T]]],
        usable: Callable[[T], bool] = lambda _: True,
        *,
        most_waiting: int = 2048,
    ) -> None:
        self._fetch = fetch
        self._usable = usable
        self._most_waiting = most_waiting
        self._held: defaultdict[K, deque[T]] = defaultdict(deque)
        # The share that is being taken, for all that wait: they have it, or its failure, together.
        self._fetching: dict[K, asyncio.Task[bool]] = {}
        self._waiting: Counter[K] = Counter()
        # When the last share was there, and how large it was to be.
        self._last: dict[K, tuple[float, int]] = {}

    def holds(self, kind: K) -> bool:
        """Return whether there is one that nobody has to wait for."""
        return bool(self._held[kind])

    async def take(self, kind: K) -> T | None:
        """Return one, or None when there is none to be had; raises what `fetch` raises, or `StoreUnavailable`."""
        while (found := self._next(kind)) is None:
            if self._waiting[kind] >= self._most_waiting:
                raise StoreUnavailable(f"no more can wait for {kind}")
            self._waiting[kind] += 1
            try:
                # Who stops waiting does not stop the share: it is for all.
                if not await asyncio.shield(self._fetching.get(kind) or self._begin(kind)):
                    return None
            finally:
                self._waiting[kind] -= 1
        # Half of the last share is used up: the next one comes before anyone has to wait for it.
        if len(self._held[kind]) < self._last[kind][1] // 2 and kind not in self._fetching:
            self._begin(kind)
        return found

    def _begin(self, kind: K) -> "asyncio.Task[bool]":
        task = self._fetching[kind] = asyncio.create_task(self._share(kind))
        # It may fail with nobody waiting for it: who comes next asks again.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def _next(self, kind: K) -> T | None:
        held = self._held[kind]
        while held:
            found = held.popleft()
            if self._usable(found):
                return found
        return None

    async def _share(self, kind: K) -> bool:
        """Take a share, for those that wait at least; return whether there is anything usable in it."""
        last, before = self._last.get(kind, (0.0, 0))
        busy = time.monotonic() - last < _BUSY_SECONDS
        # Everyone who is going to wait for this share does so before it begins.
        await asyncio.sleep(0)
        share = min(max(2 * before if busy else 1, self._waiting[kind]), _MOST_AHEAD)
        try:
            fetched = await self._fetch(kind, share)
        finally:
            del self._fetching[kind]
            self._last[kind] = (time.monotonic(), share)
        self._held[kind].extend(fetched)
        return any(map(self._usable, fetched))
