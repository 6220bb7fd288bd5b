"""Keeping what a process has in memory to itself."""

import ctypes
import resource
from contextlib import suppress

# <sys/prctl.h>
_PR_SET_DUMPABLE = 4


def seclude() -> None:
    """See to it that this process leaves no core dump, and that no debugger of the same user can read its memory.

    A program that it becomes or starts begins anew (Linux, prctl(2)).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A dump that is piped to a program knows no limit.
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
