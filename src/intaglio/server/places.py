"""Which connections of a listener go when there are too many, and how many one address may have."""

import asyncio
from collections import Counter
from typing import Protocol

# Of the listener's connections, to one address.
_SHARE = 4
# A connection that said its last word so long ago has sent it.
_SETTLED_SECONDS = 0.5


class Connection(Protocol):
    """What is between two requests, or has sent no whole head yet."""

    def unsent(self) -> int:
        """Return how many bytes the peer has not taken yet."""
        ...

    def cut_off(self) -> None:
        """End it at once."""
        ...


class Place:
    """A connection's place among those of its source."""

    def __init__(self, by_source: Counter[str], source: str) -> None:
        self._by_source = by_source
        self._source: str | None = source
        by_source[source] += 1

    def leave(self) -> None:
        """Give it back, once however often it is left."""
        source, self._source = self._source, None
        if source is not None:
            self._by_source[source] -= 1
            if not self._by_source[source]:
                del self._by_source[source]


class Places:
    """Connections by source, and those without a request, the one that waits for the longest time first."""

    def __init__(self, most: int) -> None:
        self._most_of_one = max(1, most // _SHARE)
        self._by_source: Counter[str] = Counter()
        self._idle: dict[Connection, float] = {}

    def take(self, source: str) -> Place | None:
        """Return a place, to be left again, or None when the source has as many as one may have."""
        return Place(self._by_source, source) if self._by_source[source] < self._most_of_one else None

    def rests(self, connection: Connection) -> None:
        """Note that it waits for a request."""
        self._idle.pop(connection, None)
        self._idle[connection] = asyncio.get_running_loop().time()

    def works(self, connection: Connection) -> None:
        """Note that it has a request, or is gone."""
        self._idle.pop(connection, None)

    def make_room(self) -> Connection | None:
        """Cut off and return the connection that waits for a request for the longest time, if one may go."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            oldest, since = next(iter(self._idle.items()))
            if now - since < _SETTLED_SECONDS:
                return None
            if oldest.unsent():
                self.rests(oldest)
                continue
            self.works(oldest)
            oldest.cut_off()
            return oldest
        return None
