"""What is taken ahead is given to one each, in as few shares as a busy process needs."""

import asyncio

from intaglio.database.ahead import Ahead
from intaglio.errors import StoreUnavailable


class Store:
    """Numbers from 1 on, at most so many; each share is noted."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.given = 0
        self.shares: list[int] = []

    async def fetch(self, _kind: str, most: int) -> list[int]:
        await asyncio.sleep(0)
        share = min(most, self.left)
        self.left -= share
        self.shares.append(share)
        self.given += share
        return list(range(self.given - share + 1, self.given + 1))


def test_many_takers_get_each_one_once_and_then_none() -> None:
    store = Store(100)

    async def race() -> list[int | None]:
        ahead = Ahead(store.fetch)
        return list(await asyncio.gather(*(ahead.take("x") for _ in range(110))))

    taken = asyncio.run(race())
    assert sorted(one for one in taken if one is not None) == list(range(1, 101))
    assert taken.count(None) == 10
    # a share is for those that wait, to a limit
    assert store.shares[:4] == [32, 32, 32, 4]


def test_a_busy_process_takes_twice_as_many_each_time_to_a_limit() -> None:
    store = Store(1000)

    async def walk() -> None:
        ahead = Ahead(store.fetch)
        for _ in range(100):
            await ahead.take("x")

    asyncio.run(walk())
    assert store.shares[:7] == [1, 2, 4, 8, 16, 32, 32]
    # no more ahead than a share and a half
    assert store.given <= 100 + 48


def test_what_is_of_no_use_any_more_is_passed_over_and_kinds_stand_apart() -> None:
    store = Store(20)

    async def walk() -> list[int | None]:
        ahead = Ahead(store.fetch, lambda number: number % 2 == 0)
        return [await ahead.take("x") for _ in range(3)] + [await ahead.take("y")]

    # 1 is of no use, 2 is given, 3 is passed over; the other kind gets what comes after the share of 4
    assert asyncio.run(walk()) == [None, 2, 4, 8]
    assert store.shares[:2] == [1, 2]


def test_a_share_that_cannot_be_had_is_told_to_all_at_once_and_asked_for_again() -> None:
    store = Store(1)
    asked = 0

    async def walk() -> int | None:
        failing = True

        async def fetch(kind: str, most: int) -> list[int]:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.05)
            if failing:
                raise StoreUnavailable("not now")
            return await store.fetch(kind, most)

        ahead = Ahead(fetch)
        outcomes = await asyncio.gather(*(ahead.take("x") for _ in range(20)), return_exceptions=True)
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        # one after another, the last would have waited for twenty
        assert asked == 1
        failing = False
        return await ahead.take("x")

    assert asyncio.run(walk()) == 1


def test_who_stops_waiting_costs_nobody_the_share() -> None:
    store = Store(8)

    async def walk() -> list[int | None]:
        ahead = Ahead(store.fetch)
        takers = [asyncio.create_task(ahead.take("x")) for _ in range(8)]
        await asyncio.sleep(0)
        takers[0].cancel()
        rest = await asyncio.gather(*takers[1:])
        return [*rest, await ahead.take("x")]

    assert sorted(one for one in asyncio.run(walk()) if one is not None) == list(range(1, 9))


def test_no_more_than_so_many_wait() -> None:
    store = Store(8)

    async def walk() -> list[int | BaseException | None]:
        ahead = Ahead(store.fetch, most_waiting=3)
        return await asyncio.gather(*(ahead.take("x") for _ in range(5)), return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(walk())] == [int] * 3 + [StoreUnavailable] * 2
