"""The clock as it is set, and the oscillator below it, which nobody sets or steers."""

import time


def wall_seconds() -> float:
    """Return the operating system's time, seconds since 1970."""
    return time.time()


def raw_seconds() -> float:
    """Return the oscillator's count in seconds, from some beginning.

    It is neither stepped nor steered (CLOCK_MONOTONIC_RAW). While the machine sleeps it stands: that, too, shows as a
    step of the clock.
    """
    return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
