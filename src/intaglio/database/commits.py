"""Durable commits shared by concurrent requests.

One thread owns the writing connection. What arrives while a commit is on its way to the disk goes into
the next one together, so a hundred concurrent signatures cost a few syncs, not a hundred.
A `Batch` is a function that does the same work for many requests at once; it answers one result per
argument, and an exception *as a result* refuses that request without harming its neighbours.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from intaglio.database.engine import unavailable
from intaglio.database.job import Batch, Delivery, Job, one_by_one
from intaglio.database.postgresql import BESIDE
from intaglio.database.reads import HANGS, Reads
from intaglio.errors import StoreUnavailable
from intaglio.histogram import DURATIONS, Histogram
from intaglio.spans import Spans

A = TypeVar("A")
R = TypeVar("R")

# Less than a sync takes on most disks, and long enough for a request that was just answered to come again.
_GATHERING_SECONDS = 0.002
# How often it is looked whether somebody has waited for too long.
_LOOK_SECONDS = 0.5
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Commits:
    """The writing and reading lanes of one process's event loop.

    Nobody waits longer than `patience_seconds` for a database that hangs, and while somebody has, nobody begins to.
    What was given up may still become durable: its caller was told of a failure, and got nothing.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        most_waiting: int = 2048,
        most_together: int = 256,
        patience_seconds: float = 10.0,
        spans: Spans | None = None,
    ) -> None:
        self._engine = engine
        self._spans = spans
        self._most_waiting = most_waiting
        self._most_together = most_together
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._patience = patience_seconds
        # Put and not delivered yet; any thread puts.
        self._waiting = 0
        # Of these, for what the database has not answered: since when, the oldest first.
        self._unanswered: dict[Job, float] = {}
        self._watching: asyncio.Task[None] | None = None
        self._counting = threading.Lock()
        self._together = 1  # how many shared the last commit: about as many will share the next
        # The committing thread's own, held as long as it works: a new one each time costs as much as an insert.
        self._connection: Connection | None = None
        self._beside: Sequence[Batch[Any, Any]] = ()
        self._chain = ""
        # Came too late for one commit and could not share the next: the first of the one after.
        self._put_back: Job | None = None
        self._ended = False
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._reads = Reads(engine, patience_seconds)
        # Of what was committed: how many together, and how long each commit took, in seconds. The committing thread's.
        self.sizes = Histogram(_SIZES)
        self.durations = Histogram(DURATIONS)

    @property
    def waiting(self) -> int:
        """How many writes are not done and told yet."""
        return self._waiting

    def beside(self, chain: str, batches: Sequence[Batch[Any, Any]]) -> None:
        """Let commits of nothing but these batches go on beside those of other processes, if the database can do it.

        They must bear it: what they append goes to this chain, and what else they change is one row at a time, by
        statements that need not know what it was. Rows of one table they take in the order of their keys, and in a
        commit these batches are done in the order in which they are given: no two processes wait for each other.
        """
        self._chain = chain
        self._beside = batches

    def start(self) -> None:
        """Begin to take work for the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._serve, name="commit", daemon=True)
        self._thread.start()
        self._watching = asyncio.create_task(self._watch(), name="patience")

    async def stop(self) -> None:
        """Finish what is waiting, then end the lanes."""
        with self._counting:
            self._stopped = True
            self._jobs.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 30)
        if self._watching is not None:
            self._watching.cancel()
        self._reads.end()

    async def together(self, batch: Batch[A, R], argument: A, beside: "Future[Any] | None" = None) -> R:
        """Do `batch` for `argument` in a commit shared with others; return when it is durable.

        With `beside`, what another thread does meanwhile, return when that is done, too: the event loop is then woken
        once for all that were committed together, and not twice for each.
        Raises what the batch answered for this argument, or `StoreUnavailable` when the queue is full
        or the database failed or hangs.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self.put(batch, argument, future, beside)
        return await future

    def put(
        self,
        batch: Batch[A, R],
        argument: A,
        future: "asyncio.Future[R]",
        beside: "Future[Any] | None" = None,
    ) -> None:
        """Have `batch` done for `argument` as `together` does, from any thread: `future` of the event loop is told.

        Raises `StoreUnavailable` when the queue is full.
        """
        with self._counting:
            now = time.monotonic()
            if self._stopped or self._thread is None or self._waiting >= self._most_waiting:
                raise StoreUnavailable("no more writes can wait for the database now")
            if self._unanswered and now > next(iter(self._unanswered.values())) + self._patience:
                raise StoreUnavailable(HANGS)
            job = Job(batch, argument, future, beside)
            if self._spans is not None:
                job.span = self._spans.begun("commit")
            self._waiting += 1
            self._unanswered[job] = now
            # Within the lock: behind the end that `stop` puts, nobody would look.
            self._jobs.put(job)

    async def write(self, work: Callable[[Connection], R]) -> R:
        """Do one piece of work in a shared durable commit."""
        return await self.together(one_by_one, work)

    async def read(self, work: Callable[[Connection], R]) -> R:
        """Do one piece of reading in another thread; raises what it raises, or `StoreUnavailable`."""
        return await self._reads.read(work)

    async def _watch(self) -> None:
        """Tell those that have waited for too long."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            late = time.monotonic() - self._patience
            with self._counting:
                given_up = [job for job, since in self._unanswered.items() if since < late]
            for job in given_up:
                if not job.future.done():
                    job.future.set_exception(StoreUnavailable(HANGS))

    # The committing thread -------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            first = self._put_back or self._jobs.get()
            self._put_back = None
            if first is None:
                break
            jobs = [first]
            # Company is coming when others are in flight: sleeping a moment makes one sync of many, and is not woken
            # by each of them. A lone caller, which nobody follows, waits for nothing.
            if self._together > 1:
                time.sleep(_GATHERING_SECONDS)
            self._gather(jobs)
            self._commit(jobs)
            self._together = len(jobs)
            if self._ended:
                break
        self._drop_connection()
        self._refuse_the_rest()

    def _gather(self, jobs: list[Job], *, beside: bool = False) -> None:
        """Add what waits, as far as it can share the commit: if that goes on `beside` others, what bears it."""
        while len(jobs) < self._most_together and self._put_back is None:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._ended = True
                return
            if beside and job.batch not in self._beside:
                self._put_back = job
                return
            jobs.append(job)

    def _commit(self, jobs: list[Job]) -> None:
        """Commit together; if one of them may be at fault, each on its own, so that the others are not harmed."""
        error, begun = self._attempt(jobs, gather=True)
        if error is None or len(jobs) == 1 or not begun:
            self._hand_over(jobs, error)
            return
        waiting = list(jobs)
        while waiting:
            job = waiting.pop(0)
            error, begun = self._attempt([job])
            # A database that does not even begin would keep each of them waiting as long as this one.
            done = [job] if begun else [job, *waiting]
            self._hand_over(done, error)
            if not begun:
                return

    def _attempt(self, jobs: list[Job], *, gather: bool = False) -> tuple[Exception | None, bool]:
        """Return what went wrong, if anything, and whether the transaction had begun.

        With `gather`, what came while it waited for its turn to begin shares it.
        """
        begun = False
        began = time.monotonic()
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            alone = any(job.batch not in self._beside for job in jobs)
            with self._connection.execution_options(**{BESIDE: None if alone else self._chain}).begin():
                begun = True
                if gather:
                    self._gather(jobs, beside=not alone)
                self._work(self._connection, jobs)
        except Exception as error:  # the thread must outlive any one failure
            self._drop_connection()
            return (unavailable(error) if isinstance(error, SQLAlchemyError) else error), begun
        self.sizes.add(len(jobs))
        self.durations.add(time.monotonic() - began)
        return None, True

    def _drop_connection(self) -> None:
        """Give the connection back after a failure: the next one may be better."""
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
            self._connection = None

    def _hand_over(self, jobs: list[Job], error: Exception | None) -> None:
        with self._counting:
            for job in jobs:
                del self._unanswered[job]
        if error is not None:
            for job in jobs:
                job.outcome = error
        Delivery(jobs, self._wake)

    def _wake(self, jobs: list[Job]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._deliver, jobs)

    def _refuse_the_rest(self) -> None:
        rest: list[Job] = []
        with suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    rest.append(job)
        if rest:
            self._hand_over(rest, StoreUnavailable("the service is ending"))

    def _work(self, connection: Connection, jobs: list[Job]) -> None:
        if len(jobs) == 1 and jobs[0].batch is one_by_one:
            # It has the transaction for itself, and may fail with it: a savepoint costs as much as most works.
            jobs[0].outcome = jobs[0].argument(connection)
            return
        by_batch: dict[Batch[Any, Any], list[Job]] = {}
        for job in jobs:
            by_batch.setdefault(job.batch, []).append(job)
        for batch, members in sorted(by_batch.items(), key=self._place):
            outcomes = batch(connection, [job.argument for job in members])
            for job, outcome in zip(members, outcomes, strict=True):
                job.outcome = outcome

    def _place(self, item: tuple[Batch[Any, Any], object]) -> int:
        return self._beside.index(item[0]) if item[0] in self._beside else len(self._beside)

    def _deliver(self, jobs: list[Job]) -> None:
        with self._counting:
            self._waiting -= len(jobs)
        for job in jobs:
            if job.span is not None:
                job.span.tell(intaglio__writes=len(jobs))
                job.span.end()
            if job.future.done():
                continue  # the caller went away; the entry stays
            if isinstance(job.outcome, BaseException):
                job.future.set_exception(job.outcome)
            else:
                job.future.set_result(job.outcome)
