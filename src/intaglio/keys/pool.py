"""The pool: identities' keys made ahead of demand, and each given to one taker only.

Keys are taken from the register by claims that are durable before a key is used; a busy process claims some ahead, a
quiet one exactly what it needs. What fills the pool (`filling`) works in a process of its own.
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from intaglio.clock import Clock
from intaglio.database.ahead import Ahead
from intaglio.database.commits import Commits
from intaglio.errors import KeyUnavailable
from intaglio.keys import register
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.custody import IdentityCustody, SealedKey
from intaglio.keys.lanes import Lanes

# A pool that was found empty is believed to be so for as long: asking costs a turn in the database.
_EMPTY_SECONDS = 0.1


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


def new_key_id(now: datetime) -> str:
    """Return 32 hexadecimal digits, unique: the time in milliseconds, and 80 random bits.

    Keys that are made, claimed and certified together are together in every index that begins with their id.
    """
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"


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
        self._claimed = Ahead(self._claim, self._lasts)
        # Until when nobody asks for keys of a kind again.
        self._empty_until: dict[KeyAlgorithm, float] = {}
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
            key = await self._ready(algorithm)
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
            key = await self._ready(algorithm) if kept else None
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
        key_id = new_key_id(self._clock.now())
        sealed, public_key = await self._lanes.run(self.custody.make, algorithm, epoch.id, key_id)
        born = self._clock.now()
        return SealedKey(
            key_id, algorithm, self.custody.form, epoch.id, sealed, public_key, born, born + self.rules.age
        )

    async def _ready(self, algorithm: KeyAlgorithm) -> SealedKey | None:
        """Return a key that was made ahead, if there is one."""
        if not self._claimed.holds(algorithm) and time.monotonic() < self._empty_until.get(algorithm, 0.0):
            return None
        key = await self._claimed.take(algorithm)
        if key is None:
            self._empty_until[algorithm] = time.monotonic() + _EMPTY_SECONDS
        return key

    async def _generate(self, algorithm: KeyAlgorithm) -> SealedKey:
        key = await self.make(algorithm)
        await self._commits.write(lambda connection: register.add(connection, [key], self._owner))
        return key

    async def _claim(self, algorithm: KeyAlgorithm, most: int) -> list[SealedKey]:
        until = self._clock.now() + register.MARGIN
        form, owner = self.custody.form, self._owner
        return await self._commits.write(
            lambda connection: register.claim(connection, algorithm, form, until, owner, most)
        )

    def _lasts(self, key: SealedKey) -> bool:
        return key.not_after >= self._clock.now() + register.MARGIN

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
