"""Rates: how often an account may have a thing, exact over all processes and nodes.

The generic cell rate algorithm (GCRA, ITU-T I.371 §A): all that is kept of an account's past is its theoretical arrival
time, `tat`, in nanoseconds since 1970. What is had moves it on by an interval each, and nothing is to be had that would
move it further than a window ahead of now. The register that keeps it is the quota's, so that both are looked at and
spent by one statement (`quota`); what a process knows of it beside that (`Limits`) spares refusals the database.
"""

import math
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address, ip_address
from threading import Lock

import msgspec

from intaglio.errors import RateLimited

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000_000
# What clocks of nodes may differ by. A `tat` further ahead is of a clock that was set back since: it would shut the
# account out until that time comes again.
SKEW = 5 * SECOND
_MOST_KNOWN = 10_000


class Rate(msgspec.Struct, frozen=True):
    """One each `interval` (nanoseconds) in the long run, and at most `burst` at once."""

    interval: int
    burst: int

    @property
    def window(self) -> int:
        """How long it takes until a whole burst is to be had again, in nanoseconds."""
        return self.interval * self.burst


def rate(per_second: float, burst: int) -> Rate:
    """Return the rate of so many a second, rounded down to whole nanoseconds between them."""
    return Rate(math.ceil(SECOND / per_second), burst)


def instant(now: datetime) -> int:
    """Return a time as nanoseconds since 1970, UTC."""
    return (now - _EPOCH) // _MICROSECOND * 1000


def settled(found: Rate, tat: int, now: int) -> int:
    """Return a `tat` as it counts now: never in the past, and none that only a clock set back explains."""
    if tat > now + found.window + SKEW:
        return now + found.window
    return max(tat, now)


def room(found: Rate, tat: int, now: int) -> int:
    """Return how many are to be had now; `tat` is settled."""
    return max(0, (now + found.window - tat) // found.interval)


def over(what: str, found: Rate, wait: int) -> RateLimited:
    """Return the refusal of who has to wait for so many nanoseconds."""
    return RateLimited(what, found.burst, math.ceil(found.window / SECOND), math.ceil(wait / SECOND))


def network(peer: str) -> str:
    """Return by what an address is counted: who has one of IPv6 has all of its 64-bit network."""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    if not isinstance(address, IPv6Address):
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


class Limits:
    """What one process knows of how far ahead accounts are: who is over a limit costs no commit and no signature.

    The register decides; what is known here is what went through this process and what the register said when it
    refused, so it may let through what the register then refuses, and of one process alone it lets through none.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], int] = {}
        self._pruned = 0
        self._learning = Lock()

    def check(self, who: str, what: str, found: Rate, now: datetime) -> None:
        """Raise `RateLimited` if it is too early for one more of what `who` has."""
        self._look(who, what, found, instant(now))

    def admit(self, who: str, what: str, found: Rate, now: datetime) -> None:
        """Count one that is asked for; raises `RateLimited` instead if it is too early for it."""
        tat = self._look(who, what, found, instant(now))
        self._known[who, what] = tat + found.interval

    def _look(self, who: str, what: str, found: Rate, now: int) -> int:
        tat = settled(found, self._known.get((who, what), 0), now)
        wait = tat + found.interval - now - found.window
        if wait > 0:
            # A clock that was set back is taken notice of once.
            self._known[who, what] = tat
            raise over(what, found, wait)
        # Once a second: all of them may be ahead, and then nothing is gained by it.
        if len(self._known) >= _MOST_KNOWN and abs(now - self._pruned) >= SECOND:
            self._pruned = now
            with self._learning:
                self._known = {key: one for key, one in self._known.items() if one > now}
        return tat

    def learn(self, who: str, what: str, tat: int) -> None:
        """Take notice of what the register has; from any thread."""
        with self._learning:
            self._known[who, what] = max(tat, self._known.get((who, what), 0))
