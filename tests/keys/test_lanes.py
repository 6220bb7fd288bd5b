"""A call that hangs keeps its thread and nothing else."""

import threading
import time

import pytest

from intaglio.errors import KeyUnavailable
from intaglio.keys.lanes import Lanes


def test_a_hung_call_is_given_up_and_others_go_on() -> None:
    lanes = Lanes("test", 2, 0.4)
    release = threading.Event()
    hung = [lanes.submit(release.wait) for _ in range(2)]
    begun = time.monotonic()
    behind = lanes.submit(lambda: 7)
    for future in hung:
        with pytest.raises(KeyUnavailable, match=r"within 0\.4 s"):
            future.result(2)
    # The two threads were replaced; what waited behind them was not too late, or was told so.
    assert isinstance(behind.exception(2), KeyUnavailable | None)
    assert lanes.submit(lambda: 8).result(2) == 8
    assert time.monotonic() - begun < 2
    assert lanes.lost == 2
    release.set()
    wait_until(lambda: lanes.lost == 0)
    assert lanes.submit(lambda: 9).result(2) == 9
    lanes.shutdown()


def test_when_everything_hangs_the_next_is_refused_at_once_until_it_is_over() -> None:
    lanes = Lanes("test", 1, 0.2)
    release = threading.Event()
    for _ in range(4):
        with pytest.raises(KeyUnavailable):
            lanes.submit(release.wait).result(2)
    begun = time.monotonic()
    with pytest.raises(KeyUnavailable):
        lanes.submit(lambda: 1).result(2)
    assert time.monotonic() - begun < 0.1
    release.set()
    wait_until(lambda: lanes.lost == 0)
    wait_until(lambda: lanes.submit(lambda: 2).exception(2) is None)
    lanes.shutdown()


def test_what_work_raises_reaches_who_asked() -> None:
    lanes = Lanes("test", 1)
    with pytest.raises(ZeroDivisionError):
        lanes.submit(lambda: 1 // 0).result(2)
    assert lanes.submit(lambda: 1).result(2) == 1
    lanes.shutdown()


def wait_until(condition: object) -> None:
    assert callable(condition)
    for _ in range(100):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError
