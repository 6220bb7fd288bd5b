"""What chrony says of the clock that it steers: `chronyc -c tracking`, which prints the daemon's own figures."""

import subprocess

from intaglio.clock.agreement import Verdict
from intaglio.clock.oscillator import raw_seconds, wall_seconds

_PATIENCE_SECONDS = 5
# The places in a line of `chronyc -c tracking` (chrony 4): in seconds but for the last.
_STRATUM, _OFFSET, _DELAY, _DISPERSION, _LEAP = 2, 4, 10, 11, 13
_MOST_STRATUM = 15
_UNSYNCHRONISED = "Not synchronised"


def look(address: str | None) -> Verdict:
    """Return what the daemon says that takes commands at `address`, or where chronyc finds it."""
    wall, raw = wall_seconds(), raw_seconds()
    place = () if address is None else ("-h", address)
    try:
        done = subprocess.run(
            ["chronyc", "-c", "-n", *place, "tracking"],
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Verdict(wall, raw, why=f"chronyc cannot be asked: {type(error).__name__}", unheard=True)
    if done.returncode != 0:
        return Verdict(wall, raw, why="chrony does not answer", unheard=True)
    # Had the clock been set meanwhile, it would be of one of two clocks that chrony spoke.
    moved = abs(wall_seconds() - wall - (raw_seconds() - raw))
    return read(done.stdout, wall, raw, moved)


def read(line: str, wall: float, raw: float, moved: float = 0.0) -> Verdict:
    """Return what a line of figures says; the clock was set by up to `moved` seconds while they were had.

    True time is within root dispersion and half of the root delay of what chrony steers to, as its manual has it
    (chronyc(1), tracking); positive offsets are those of a clock that is slow.
    """
    fields = line.strip().split(",")
    try:
        stratum, offset, delay, dispersion = (
            int(fields[_STRATUM]),
            *(float(fields[place]) for place in (_OFFSET, _DELAY, _DISPERSION)),
        )
        leap = fields[_LEAP]
    except (ValueError, IndexError):
        return Verdict(wall, raw, why="chrony says what cannot be read", unheard=True)
    if leap == _UNSYNCHRONISED or not 1 <= stratum <= _MOST_STRATUM:
        return Verdict(wall, raw, why="chrony is not synchronised")
    error = abs(delay) / 2 + abs(dispersion) + moved
    return Verdict(wall, raw, offset - error, offset + error)
