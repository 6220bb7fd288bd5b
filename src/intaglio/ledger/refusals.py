"""Which refusals have an entry each, and which are counted: a flood must not cost more than it costs to send."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from intaglio.ledger.entry import Event

# The kind of an entry about one, and of one about many: who looks for the first finds both.
REFUSED = "request.refused"
REFUSED_MORE = "request.refused.more"

WINDOW = timedelta(seconds=10)
# In each window: of one source, and of all together.
MOST_OF_ONE = 200
MOST_OF_ALL = 1000
_MOST_SOURCES = 1000
_OTHERS = "others"


class Source(msgspec.Struct, frozen=True):
    """Who was refused: the address that it came from, of IPv6 its network, and the account where one is known."""

    account_id: str | None
    peer: str


class _Counted(msgspec.Struct):
    statuses: Counter[int]
    since: datetime
    until: datetime


class Refusals:
    """Counts refusals window by window: the first of each source have an entry each, what follows shares one."""

    def __init__(self) -> None:
        self._ends: datetime | None = None
        self._told: Counter[Source] = Counter()
        self._counted: dict[Source, _Counted] = {}
        self._unwritten: list[Event] = []

    def alone(self, source: Source, status: int, now: datetime) -> bool:
        """Return whether a refusal has an entry of its own; if not, it is counted here."""
        if self._ends is None or now >= self._ends:
            self._ends = now + WINDOW
            self._told.clear()
        if self._told[source] < MOST_OF_ONE and self._told.total() < MOST_OF_ALL:
            self._told[source] += 1
            return True
        if source not in self._counted and len(self._counted) >= _MOST_SOURCES:
            source = Source(None, _OTHERS)
        found = self._counted.setdefault(source, _Counted(Counter(), now, now))
        found.statuses[status] += 1
        found.until = now
        return False

    def summaries(self, now: datetime, *, all_of_them: bool = False) -> list[Event]:
        """Return the events that tell of what was counted since a window ago, or of `all_of_them`.

        They are returned again until they are `written`.
        """
        due = [one for one, counted in self._counted.items() if all_of_them or now >= counted.since + WINDOW]
        self._unwritten += [_event(source, self._counted.pop(source), now) for source in due]
        return list(self._unwritten)

    def written(self, events: Sequence[Event]) -> None:
        """Take notice that the events that `summaries` returned are in the ledger."""
        del self._unwritten[: len(events)]


def _event(source: Source, counted: _Counted, now: datetime) -> Event:
    details = {
        "count": counted.statuses.total(),
        "statuses": {str(status): number for status, number in sorted(counted.statuses.items())},
        "since": counted.since,
        "until": counted.until,
        "peer": source.peer,
    }
    return Event(now, REFUSED_MORE, source.account_id, details=details)
