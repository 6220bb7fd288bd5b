"""How a thread gives way: on Linux each has a priority of its own."""

import os
import threading
from contextlib import suppress


def wait_turns() -> None:
    """Let the calling thread, and all that it starts from now on, wait for their turn when they wake.

    The priority stays the same, but what runs is not interrupted: threads that share an interpreter wake each other all
    the time, mostly to find that they have to wait for the one that they have just stopped.
    """
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def give_way() -> None:
    """Let the calling thread run less than others that want the processor: somebody may wait for what it does."""
    with suppress(OSError):  # some systems know no priority of a thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def step_back() -> None:
    """Let the calling thread run only when no other wants the processor."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
