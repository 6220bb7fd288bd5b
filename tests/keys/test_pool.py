"""A key of the pool serves one taker, whoever asks at the same time and whoever dies in between."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, select, update

from intaglio.clock import ManualClock
from intaglio.database.commits import Commits
from intaglio.database.engine import migrate, open_engine, reading, transaction
from intaglio.errors import KeyUnavailable
from intaglio.keys import register
from intaglio.keys.algorithm import KeyAlgorithm, public_key_of
from intaglio.keys.custody import Form, IdentityCustody
from intaglio.keys.epoch_files import EpochFiles
from intaglio.keys.filling import Filler
from intaglio.keys.lanes import Lanes
from intaglio.keys.pool import Pool, Rules, WhenEmpty
from intaglio.keys.register import Marks, identity_keys
from intaglio.keys.sealing import SealingKey
from intaglio.keys.software import SoftwareIdentities

NOW = datetime(2026, 11, 24, tzinfo=UTC)
P256 = KeyAlgorithm.P_256


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = open_engine(f"sqlite:///{tmp_path / 'test.db'}", new=True)
    with transaction(made) as connection:
        migrate(connection)
    return made


@pytest.fixture
def custody(tmp_path: Path) -> IdentityCustody:
    return SoftwareIdentities(EpochFiles(tmp_path / "epochs", SealingKey(bytes(32), "epochs")))


def rules(*, high: int = 64, when_empty: WhenEmpty = WhenEmpty.REFUSE) -> Rules:
    return Rules({P256: Marks(high // 2, high)}, timedelta(hours=1), timedelta(hours=1), when_empty, 1.0)


@asynccontextmanager
async def opened(
    engine: Engine, custody: IdentityCustody, clock: ManualClock, owner: str, wanted: Rules
) -> AsyncIterator[tuple[Pool, Filler]]:
    commits = Commits(engine)
    commits.start()
    pool = Pool(custody, commits, Lanes("make", 1), clock, wanted, owner)
    try:
        yield pool, Filler(pool, commits, clock, 2)
    finally:
        pool.close()
        await commits.stop()


def test_two_nodes_with_eight_takers_get_every_key_once(engine: Engine, custody: IdentityCustody) -> None:
    async def race() -> list[str]:
        clock = ManualClock(NOW)
        async with (
            opened(engine, custody, clock, "a", rules()) as (first, filler),
            opened(engine, custody, clock, "b", rules()) as (second, _),
        ):
            while await filler.fill():
                pass

            async def take(pool: Pool) -> list[str]:
                found: list[str] = []
                while True:
                    try:
                        found.append((await pool.take(P256)).id)
                    except KeyUnavailable:
                        return found

            found = await asyncio.gather(*(take(pool) for pool in (first, second) for _ in range(4)))
            return [one for each in found for one in each]

    taken = asyncio.run(race())
    assert len(taken) == 64
    assert len(set(taken)) == 64
    engine.dispose()


def test_control_looking_and_then_taking_gives_one_key_to_two(engine: Engine, custody: IdentityCustody) -> None:
    """The control of the test above: without the claim, two takers meet at one key."""

    async def race() -> list[str]:
        clock = ManualClock(NOW)
        async with opened(engine, custody, clock, "a", rules()) as (_, filler):
            await filler.fill()
            commits = Commits(engine)
            commits.start()

            async def careless() -> str:
                query = select(identity_keys.c.id).where(identity_keys.c.claimed_by.is_(None)).limit(1)
                found = str(await commits.read(lambda c: c.execute(query).scalar_one()))
                taking = update(identity_keys).where(identity_keys.c.id == found).values(claimed_by="x")
                await commits.write(lambda c: c.execute(taking))
                return found

            taken = await asyncio.gather(*(careless() for _ in range(4)))
            await commits.stop()
            return taken

    taken = asyncio.run(race())
    assert len(set(taken)) < len(taken)
    engine.dispose()


def test_what_was_claimed_by_who_then_died_serves_nobody(engine: Engine, custody: IdentityCustody) -> None:
    async def walk() -> None:
        clock = ManualClock(NOW)
        async with opened(engine, custody, clock, "a", rules(high=4)) as (pool, filler):
            while await filler.fill():
                pass
            lost = await pool.take(P256)
        # The process is gone here: neither released nor certified.
        async with opened(engine, custody, clock, "b", rules(high=4)) as (pool, _):
            others = [(await pool.take(P256)).id for _ in range(3)]
            assert lost.id not in others
            with pytest.raises(KeyUnavailable, match="empty"):
                await pool.take(P256)
        later = NOW + timedelta(hours=1, seconds=1)
        with transaction(engine) as connection:
            over = register.over(connection, later)
            assert {(key.id, certified) for key, certified in over} == {(one, False) for one in (lost.id, *others)}
            register.destroy(connection, [key.id for key, _ in over], later)
        with reading(engine) as connection:
            assert connection.execute(select(identity_keys)).all() == []

    asyncio.run(walk())
    engine.dispose()


def test_an_identity_is_certified_once_and_only_while_its_key_exists(engine: Engine, custody: IdentityCustody) -> None:
    async def walk() -> None:
        clock = ManualClock(NOW)
        async with opened(engine, custody, clock, "a", rules(when_empty=WhenEmpty.GENERATE)) as (pool, _):
            key = await pool.take(P256)
            assert pool.misses[P256] == 1
            assert public_key_of(key.public_key) == custody.open(key).public_key()
        end = NOW + timedelta(minutes=10)
        with transaction(engine) as connection:
            register.certify(connection, [(key.id, NOW, end)])
        with pytest.raises(KeyUnavailable), transaction(engine) as connection:
            register.certify(connection, [(key.id, NOW, end)])
        with transaction(engine) as connection:
            # Looked up as over, certified meanwhile: it stays.
            assert register.destroy(connection, [key.id], NOW) == set()
            assert register.destroy(connection, [key.id], end + timedelta(seconds=1)) == {key.id}
        with pytest.raises(KeyUnavailable), transaction(engine) as connection:
            register.certify(connection, [(key.id, NOW, end)])

    asyncio.run(walk())
    engine.dispose()


def test_keys_age_out_and_the_pool_fills_again_under_a_new_epoch(engine: Engine, custody: IdentityCustody) -> None:
    async def walk() -> None:
        clock = ManualClock(NOW)
        async with opened(engine, custody, clock, "a", rules(high=4)) as (pool, filler):
            while await filler.fill():
                pass
            first = await pool.take(P256)
            clock.advance(timedelta(hours=1))
            assert (await filler.depth())[P256] == 0
            while await filler.fill():
                pass
            second = await pool.take(P256)
            assert second.born_at > first.born_at
            assert second.epoch != first.epoch
            with reading(engine) as connection:
                assert [epoch.id for epoch in register.living_epochs(connection)] == [first.epoch, second.epoch]
                assert register.epochs_over(connection, clock.now()) == []

    asyncio.run(walk())
    engine.dispose()


def test_an_empty_pool_is_not_asked_by_everyone(
    engine: Engine, custody: IdentityCustody, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusing must cost less than asking; and what comes into the pool is seen a moment later."""
    claims: list[int] = []
    claim = register.claim

    def counted(*arguments: Any) -> Any:
        claims.append(arguments[-1])
        return claim(*arguments)

    monkeypatch.setattr(register, "claim", counted)

    async def walk() -> None:
        async with opened(engine, custody, ManualClock(NOW), "a", rules(high=4)) as (pool, filler):
            for _ in range(50):
                with pytest.raises(KeyUnavailable, match="empty"):
                    await pool.take(P256)
            assert pool.misses[P256] == 50
            assert len(claims) < 10
            await filler.fill()
            await asyncio.sleep(0.15)
            await pool.take(P256)

    asyncio.run(walk())


def test_no_key_is_written_under_an_epoch_that_was_destroyed(engine: Engine, custody: IdentityCustody) -> None:
    async def walk() -> None:
        clock = ManualClock(NOW)
        async with opened(engine, custody, clock, "a", rules()) as (pool, _):
            key = await pool.make(P256)
            with transaction(engine) as connection:
                register.end_epoch(connection, key.epoch, NOW)
            with pytest.raises(KeyUnavailable), transaction(engine) as connection:
                register.add(connection, [key])

    asyncio.run(walk())
    engine.dispose()


def test_a_sealed_key_opens_only_beside_its_id_and_public_key(engine: Engine, custody: IdentityCustody) -> None:
    async def walk() -> None:
        async with opened(engine, custody, ManualClock(NOW), "a", rules()) as (pool, _):
            one, other = await pool.make(P256), await pool.make(P256)
        for swapped in (
            {"sealed": other.sealed},
            {"public_key": other.public_key},
            {"id": other.id},
            {"sealed": bytes((*one.sealed[:-1], one.sealed[-1] ^ 1))},
        ):
            with pytest.raises(KeyUnavailable):
                custody.open(msgspec.structs.replace(one, **swapped))
        custody.end_epoch(one.epoch)
        custody.end_epoch(one.epoch)
        with pytest.raises(KeyUnavailable, match="over"):
            custody.open(one)

    asyncio.run(walk())
    engine.dispose()
    assert custody.form == Form.SOFTWARE
