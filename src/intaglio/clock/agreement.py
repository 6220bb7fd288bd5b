"""What several time servers agree on, when some of them may be wrong (Marzullo 1984; RFC 5905 §11.2.1)."""

from collections.abc import Sequence

import msgspec


class Reading(msgspec.Struct, frozen=True):
    """What one server says: true time less ours is `offset`, within `error`; both in seconds."""

    server: str
    offset: float
    error: float


class Verdict(msgspec.Struct, frozen=True):
    """What a source says of our clock: at `wall`, true time less ours was from `low` to `high`; seconds.

    `raw` is the oscillator's count then, `wall` seconds since 1970. Bounds that are infinite come with `why`; with
    `unheard` that is so because the source said too little, and not because it said that nobody knows. `wrong` are the
    servers that the others contradict, `silent` those that said nothing of use.
    """

    wall: float
    raw: float
    low: float = float("-inf")
    high: float = float("inf")
    why: str = ""
    unheard: bool = False
    wrong: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def agreed(readings: Sequence[Reading], needed: int) -> tuple[float, float] | None:
    """Return the bounds of every offset that at least `needed` servers hold possible, or None if there is none.

    If `needed` of them tell the truth, the true offset is within the bounds, whatever the others say. With more than
    half needed, liars alone never agree, and one of them cannot make the bounds narrower than the others do.
    """
    # At one point intervals begin before others end: they are closed.
    ends = sorted([(one.offset - one.error, 0) for one in readings] + [(one.offset + one.error, 1) for one in readings])
    held, bounds = 0, []
    for place, ending in ends:
        if held == needed and ending:
            bounds.append(place)
        held += -1 if ending else 1
        if held == needed and not ending:
            bounds.append(place)
    return (bounds[0], bounds[-1]) if bounds else None
