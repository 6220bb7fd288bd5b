"""Worker threads for cryptography, watched: a call that does not end in time is given up.

A hung HSM keeps the thread that called it, and nothing else: whoever waits is told, another thread takes its place,
and when too many hang, what comes next is refused at once until one of them returns.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, NamedTuple, ParamSpec, TypeVar

from intaglio.errors import KeyUnavailable
from intaglio.spans import Spans

P = ParamSpec("P")
R = TypeVar("R")

_MOST_LOST = 4  # times as many as there are lanes


class _Task(NamedTuple):
    future: "Future[Any]"
    since: float
    work: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _Worker:
    """One thread and what it is doing."""

    __slots__ = ("lost", "since", "task")

    def __init__(self) -> None:
        self.task: _Task | None = None
        self.since = 0.0
        self.lost = False


class Lanes:
    """`threads` lanes; with `timeout_seconds`, no call and no wait for a free lane lasts longer.

    Each thread begins with `manner`, which may set its priority.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        timeout_seconds: float | None = None,
        manner: Callable[[], None] = lambda: None,
        spans: Spans | None = None,
    ) -> None:
        self._name = name
        self._spans = spans
        self._threads = threads
        self._timeout = timeout_seconds
        self._manner = manner
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        # How many calls have not come back in time and are still out.
        self.lost = 0
        self._ended = threading.Event()
        for _ in range(threads):
            self._start_worker()
        if timeout_seconds is not None:
            threading.Thread(target=self._watch, name=f"{name}-watch", daemon=True).start()

    def submit(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Have `work` done in a lane; the future fails with `KeyUnavailable` when that takes too long."""
        future: Future[R] = Future()
        if self._spans is not None:
            work = self._spans.carried(self._name, work)
        if self.lost >= _MOST_LOST * self._threads:
            future.set_exception(self._late("do"))
            return future
        self._tasks.put(_Task(future, time.monotonic(), work, args, kwargs))
        return future

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Have `work` done beside the event loop."""
        return await asyncio.wrap_future(self.submit(work, *args, **kwargs))

    def shutdown(self) -> None:
        """Take no more; threads end with what they are doing."""
        self._ended.set()
        for _ in range(len(self._workers)):
            self._tasks.put(None)

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return self._tasks.qsize()

    def _late(self, verb: str) -> KeyUnavailable:
        return KeyUnavailable(f"the keys' store did not {verb} it within {self._timeout:g} s")

    def _start_worker(self) -> None:
        worker = _Worker()
        self._workers.add(worker)
        name = f"{self._name}-{len(self._workers)}"
        # A daemon: a call that hangs for ever must not keep the process from ending.
        threading.Thread(target=self._work, args=(worker,), name=name, daemon=True).start()

    def _work(self, worker: _Worker) -> None:
        self._manner()
        while (task := self._tasks.get()) is not None:
            if not task.future.set_running_or_notify_cancel():
                continue
            now = time.monotonic()
            if self._timeout is not None and now - task.since > self._timeout:
                task.future.set_exception(self._late("begin"))
                continue
            worker.since = now
            worker.task = task
            outcome: Any = None
            failure: BaseException | None = None
            try:
                outcome = task.work(*task.args, **task.kwargs)
            except BaseException as error:  # the waiting side raises it
                failure = error
            with self._lock:
                worker.task = None
                if worker.lost:
                    self.lost -= 1
                    self._workers.discard(worker)
            if worker.lost:
                return  # another has its place, and whoever waited was told
            if failure is None:
                task.future.set_result(outcome)
            else:
                task.future.set_exception(failure)
            # The outcome may be a key: this frame must not keep it until the next task.
            del task, outcome, failure
        with self._lock:
            self._workers.discard(worker)

    def _watch(self) -> None:
        timeout = self._timeout or 0.0
        while not self._ended.wait(timeout / 8):
            self._give_up(time.monotonic() - timeout)
            if self.lost >= _MOST_LOST * self._threads:
                self._refuse_waiting()

    def _give_up(self, before: float) -> None:
        given_up: list[_Task] = []
        with self._lock:
            for worker in list(self._workers):
                if worker.task is not None and not worker.lost and worker.since < before:
                    worker.lost = True
                    self.lost += 1
                    given_up.append(worker.task)
            missing = self._threads - (len(self._workers) - self.lost)
            room = _MOST_LOST * self._threads - self.lost
            for _ in range(min(missing, room)):
                self._start_worker()
        for task in given_up:
            with suppress(InvalidStateError):
                task.future.set_exception(self._late("do"))

    def _refuse_waiting(self) -> None:
        with suppress(queue.Empty):
            while (task := self._tasks.get_nowait()) is not None:
                if task.future.set_running_or_notify_cancel():
                    task.future.set_exception(self._late("begin"))
