"""The pool: identities' keys made ahead of demand, and each given to one taker only.

Keys are taken from the register by claims that are durable before a key is used; a busy process claims some ahead, a
quiet one exactly what it needs. What fills the pool (`filling`) works in a process of its own.
"""

import asyncio
import secrets
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from intaglio.clock import Clock
from intaglio.database.commits import Commits
from intaglio.errors import KeyUnavailable
from intaglio.keys import register
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.custody import IdentityCustody, SealedKey
from intaglio.keys.lanes import Lanes

_MOST_AHEAD = 32
# Who claims again within so many seconds is busy and claims twice as many.
_BUSY_SECONDS = 0.5


class WhenEmpty(StrEnum):
    """What an empty pool answers."""

    GENERATE = "generate"
    REFUSE = "refuse"


class Rules(msgspec.Struct, frozen=True):
    """How the pool is run: keys are given up at `age`, an epoch seals for `epoch`."""

    marks: Mapping[KeyAlgorithm, register.Marks]
    age: timedelta
    epoch: timedelta
    when_empty: WhenEmpty
    wait_seconds: float


class Pool:
    """One process's way to keys for identities; `owner` is who claims, in the register."""

    def __init__(
        self, custody: IdentityCustody, commits: Commits, lanes: Lanes, clock: Clock, rules: Rules, owner: str
    ) -> None:
        self.custody = custody
        self.rules = rules
        # How often a key was asked for and none was ready, by algorithm.
        self.misses: Counter[KeyAlgorithm] = Counter()
        self.taken: Counter[KeyAlgorithm] = Counter()
        self._commits = commits
        self._lanes = lanes
        self._clock = clock
        self._owner = owner
        self._claimed: defaultdict[KeyAlgorithm, deque[SealedKey]] = defaultdict(deque)
        self._claiming: defaultdict[KeyAlgorithm, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ahead: dict[KeyAlgorithm, tuple[float, int]] = {}
        self._generating = asyncio.Lock()
        self._epoch: register.Epoch | None = None
        self._beginning = asyncio.Lock()

    async def take(self, algorithm: KeyAlgorithm) -> SealedKey:
        """Return a key that nobody else has or will get; raises `KeyUnavailable`, `StoreUnavailable`.

        Algorithms that are not kept in the pool are generated on demand, and so is what the pool lacks, if the rules
        say so: one at a time in each process, for a bounded time of waiting.
        """
        self.taken[algorithm] += 1
        kept = algorithm in self.rules.marks
        if kept:
            key = await self._from_pool(algorithm)
            if key is not None:
                return key
            self.misses[algorithm] += 1
            if self.rules.when_empty == WhenEmpty.REFUSE:
                raise KeyUnavailable(f"the pool of {algorithm} keys is empty")
        try:
            async with asyncio.timeout(self.rules.wait_seconds):
                await self._generating.acquire()
        except TimeoutError as error:
            raise KeyUnavailable(f"the pool of {algorithm} keys is empty, and others wait for one longer") from error
        try:
            # While this one waited, the pool may have got some again.
            key = await self._from_pool(algorithm) if kept else None
            return key or await self._generate(algorithm)
        finally:
            self._generating.release()

    @property
    def hung(self) -> int:
        """How many keys are being made that should long have been ready."""
        return self._lanes.lost

    def close(self) -> None:
        """Make no more keys."""
        self._lanes.shutdown()

    async def make(self, algorithm: KeyAlgorithm) -> SealedKey:
        """Return a new key, sealed under the present epoch and not yet in the register."""
        epoch = await self._present_epoch()
        key_id = secrets.token_hex(16)
        sealed, public_key = await self._lanes.run(self.custody.make, algorithm, epoch.id, key_id)
        born = self._clock.now()
        return SealedKey(
            key_id, algorithm, self.custody.form, epoch.id, sealed, public_key, born, born + self.rules.age
        )

    async def _generate(self, algorithm: KeyAlgorithm) -> SealedKey:
        key = await self.make(algorithm)
        await self._commits.write(lambda connection: register.add(connection, [key], self._owner))
        return key

    async def _from_pool(self, algorithm: KeyAlgorithm) -> SealedKey | None:
        held = self._claimed[algorithm]
        key = self._next(held)
        if key is not None:
            return key
        async with self._claiming[algorithm]:
            # Whoever had the lock before may have claimed enough for this one, too.
            key = self._next(held)
            if key is not None:
                return key
            until = self._clock.now() + register.MARGIN
            most = self._how_many(algorithm)
            held.extend(
                await asyncio.shield(
                    self._commits.write(
                        lambda connection: register.claim(
                            connection, algorithm, self.custody.form, until, self._owner, most
                        )
                    )
                )
            )
            return self._next(held)

    def _next(self, held: deque[SealedKey]) -> SealedKey | None:
        until = self._clock.now() + register.MARGIN
        while held:
            key = held.popleft()
            if key.not_after >= until:
                return key
        return None

    def _how_many(self, algorithm: KeyAlgorithm) -> int:
        now = time.monotonic()
        last, before = self._ahead.get(algorithm, (0.0, 0))
        number = min(2 * before, _MOST_AHEAD) if now - last < _BUSY_SECONDS else 1
        self._ahead[algorithm] = (now, number)
        return number

    # Epochs ------------------------------------------------------------------------------------------

    async def _present_epoch(self) -> register.Epoch:
        now = self._clock.now()
        if self._epoch is not None and now < self._epoch.ends_at:
            return self._epoch
        async with self._beginning:
            form = self.custody.form
            found = await self._commits.read(lambda connection: register.sealing_epoch(connection, form, now))
            if found is None:
                found = await self._begin_epoch(now)
            self._epoch = found
            return found

    async def _begin_epoch(self, now: datetime) -> register.Epoch:
        # The sealing key first: an epoch that the register knows can always seal.
        name = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        epoch = register.Epoch(name, self.custody.form, now, now + self.rules.epoch)
        await self._lanes.run(self.custody.begin_epoch, name)
        await self._commits.write(lambda connection: register.add_epoch(connection, epoch))
        return epoch
