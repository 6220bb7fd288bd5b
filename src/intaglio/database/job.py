"""One request's share of a commit: what is done with many others, and how its caller is told."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Connection

from intaglio.errors import IntaglioError
from intaglio.spans import Span

A = TypeVar("A")
R = TypeVar("R")

Batch = Callable[[Connection, Sequence[A]], Sequence[R | IntaglioError]]


class Job:
    """One request's share of a commit."""

    __slots__ = ("argument", "batch", "beside", "future", "outcome", "span")

    def __init__(
        self, batch: Batch[Any, Any], argument: Any, future: "asyncio.Future[Any]", beside: "Future[Any] | None"
    ) -> None:
        self.beside = beside
        self.batch = batch
        self.argument = argument
        self.future = future
        self.outcome: Any = None
        self.span: Span | None = None


class Delivery:
    """Hands jobs over once everything that goes on beside them is done, whichever thread finishes last."""

    def __init__(self, jobs: list[Job], deliver: Callable[[list[Job]], None]) -> None:
        self._jobs = jobs
        self._deliver = deliver
        self._lock = threading.Lock()
        # One for this thread, which is still counting.
        self._open = 1
        for job in jobs:
            if job.beside is not None and not job.beside.done():
                with self._lock:
                    self._open += 1
                job.beside.add_done_callback(self._done)
        self._done(None)

    def _done(self, _beside: "Future[Any] | None") -> None:
        with self._lock:
            self._open -= 1
            last = self._open == 0
        if last:
            self._deliver(self._jobs)


def one_by_one(connection: Connection, works: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    """Run unrelated pieces of work, each behind its own savepoint."""
    outcomes: list[Any] = []
    for work in works:
        try:
            with connection.begin_nested():
                outcomes.append(work(connection))
        except IntaglioError as error:
            outcomes.append(error)
    return outcomes
