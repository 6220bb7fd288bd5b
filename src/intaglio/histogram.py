"""Counting values by size, for the metrics: plain integers, since one thread writes each of them."""

from bisect import bisect_left
from collections.abc import Sequence

# Of durations, in seconds: half of all lies between 1 and 100 ms, where most of what the service does ends.
DURATIONS = (
    0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip


class Histogram:
    """How many values were at most each of `bounds`, ascending, and their sum; any thread may read."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        # The last is of what is above all bounds.
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    @property
    def total(self) -> float:
        """The sum of all values."""
        return self._total

    def cumulated(self) -> list[tuple[str, int]]:
        """Return for each bound, and for `+Inf`, how many values were not above it."""
        found: list[tuple[str, int]] = []
        below = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), list(self._counts), strict=True):
            below += count
            found.append((bound, below))
        return found
