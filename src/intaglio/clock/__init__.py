"""Where the time comes from; every operation takes `now` once and passes it on."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> datetime:
        """Return the current time, UTC, with microseconds."""
        ...


class SystemClock:
    """The operating system's clock."""

    def now(self) -> datetime:
        """Return the current time, UTC, with microseconds."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that moves only when told to; for tests and rehearsals."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """Return the time last set, UTC."""
        return self._now

    def advance(self, step: timedelta) -> datetime:
        """Move by `step` (which may be negative) and return the new time."""
        self._now += step
        return self._now
