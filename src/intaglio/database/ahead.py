"""Things that are taken durably in shares and given out one by one: a busy process takes some ahead of demand."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_MOST_AHEAD = 32
# Who takes a share again within so many seconds is busy, and takes twice as many.
_BUSY_SECONDS = 0.5


class Ahead(Generic[K, T]):
    """One process's things of each kind; `fetch` takes up to so many of a kind, durably, for this process alone.

    What is not `usable` any more when its turn comes is passed over.
    """

    def __init__(
        self, fetch: Callable[[K, int], Awaitable[list[T]]], usable: Callable[[T], bool] = lambda _: True
    ) -> None:
        self._fetch = fetch
        self._usable = usable
        self._held: defaultdict[K, deque[T]] = defaultdict(deque)
        self._fetching: defaultdict[K, asyncio.Lock] = defaultdict(asyncio.Lock)
        # When the last share was taken, and how large it was.
        self._last: dict[K, tuple[float, int]] = {}

    async def take(self, kind: K) -> T | None:
        """Return one, or None when there is none to be had; raises what `fetch` raises."""
        found = self._next(kind)
        if found is not None:
            return found
        async with self._fetching[kind]:
            # Whoever had the lock before may have taken enough for this one, too.
            found = self._next(kind)
            if found is not None:
                return found
            self._held[kind].extend(await asyncio.shield(self._fetch(kind, self._share(kind))))
            return self._next(kind)

    def _next(self, kind: K) -> T | None:
        held = self._held[kind]
        while held:
            found = held.popleft()
            if self._usable(found):
                return found
        return None

    def _share(self, kind: K) -> int:
        now = time.monotonic()
        last, before = self._last.get(kind, (0.0, 0))
        share = min(2 * before, _MOST_AHEAD) if now - last < _BUSY_SECONDS else 1
        self._last[kind] = (now, share)
        return share
