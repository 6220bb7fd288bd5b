"""How far our clock may be off now, from what a source said last and what the oscillator has counted since."""

from collections.abc import Callable
from datetime import datetime, timedelta

from intaglio.clock.agreement import Verdict
from intaglio.clock.oscillator import raw_seconds
from intaglio.errors import ClockUntrusted

# What is certified is in whole seconds.
_COARSE_SECONDS = 1.0


class Trust:
    """Judges times; to be used on the event loop. Without anything that is `checked`, every time is believed."""

    def __init__(
        self,
        accuracy: timedelta,
        *,
        checked: bool,
        silence: timedelta = timedelta(minutes=5),
        drift_ppm: float = 100.0,
        raw: Callable[[], float] = raw_seconds,
    ) -> None:
        """Believe what was said last for as long as `silence`; the oscillator may be off by `drift_ppm`."""
        self.checked = checked
        # What was said last, and what was said last that counts.
        self.said: Verdict | None = None
        self._verdict: Verdict | None = None
        # Why a time was refused, until somebody takes notice.
        self.refused: str | None = None
        self._accuracy = accuracy.total_seconds()
        self._silence = silence.total_seconds()
        self._drift = drift_ppm / 1_000_000
        self._raw = raw

    def take(self, verdict: Verdict) -> None:
        """Go by what a source said, unless it said nothing: then by what it said before, until that is too old."""
        self.said = verdict
        if not verdict.unheard:
            self._verdict = verdict

    def error(self, now: datetime) -> float:
        """Return how far `now`, just taken, may be from true time, in seconds; infinity when that is not known."""
        verdict = self._verdict
        if verdict is None:
            return float("inf")
        elapsed = self._raw() - verdict.raw
        if not 0 <= elapsed <= self._silence:
            return float("inf")
        # How far the clock was set, or steered, since: who put it right made it so.
        moved = now.timestamp() - verdict.wall - elapsed
        return max(abs(verdict.low - moved), abs(verdict.high - moved)) + elapsed * self._drift

    def check(self, now: datetime, *, coarse: bool = False) -> None:
        """Raise `ClockUntrusted` unless `now`, just taken, is true within the accuracy, or if `coarse` a second."""
        if self.checked:
            error = self.error(now)
            if error > self._accuracy and (not coarse or error > _COARSE_SECONDS):
                self.refused = self._why(error)
                raise ClockUntrusted(self.refused)

    def trouble(self, now: datetime) -> str | None:
        """Return why time-stamps are refused, or None if they are not."""
        try:
            self.check(now)
        except ClockUntrusted as error:
            return str(error)
        return None

    def _why(self, error: float) -> str:
        if error != float("inf"):
            return f"the clock may be off by {error:.3f} s, and {self._accuracy:g} s are promised"
        return (self.said and self.said.why) or "the clock was not checked for too long"
