"""What one process counts of its requests; the event loop alone writes, so it takes no locks."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from intaglio.histogram import DURATIONS, Histogram


class Operation:
    """The requests of one operation: how they ended, by the first digit of the status, and how long they took."""

    __slots__ = ("ended", "took")

    def __init__(self) -> None:
        self.ended = [0] * 6
        self.took = Histogram(DURATIONS)


class Listening(Protocol):
    """A listener that counts its connections: those open now, and since it began those that came to nothing."""

    failed_handshakes: int
    turned_away: int

    @property
    def name(self) -> str:
        """What it is for."""
        ...

    def busy(self) -> int:
        """Return how many connections are open."""
        ...


class Figures:
    """Counted since the process began."""

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}
        # By the name of the error, or where there is none by the title of the status.
        self.refusals: Counter[str] = Counter()
        self.in_flight = 0
        self.listeners: Sequence[Listening] = ()

    def began(self) -> None:
        """Count a request that is being answered, until it `ended`."""
        self.in_flight += 1

    def refused(self, reason: str) -> None:
        """Count a refusal, or a failure."""
        self.refusals[reason] += 1

    def ended(self, operation: str, status: int, seconds: float, reason: str | None) -> None:
        """Count a request, with the `reason` if it was refused or failed; the status of one without answer is 0."""
        self.in_flight -= 1
        if reason is not None:
            self.refused(reason)
        found = self.operations.get(operation)
        if found is None:
            found = self.operations[operation] = Operation()
        found.ended[status // 100] += 1
        found.took.add(seconds)
