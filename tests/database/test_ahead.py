"""What is taken ahead is given to one each, in as few shares as a busy process needs."""

import asyncio

import pytest

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
    # a busy process takes twice as many each time, to a limit
    assert store.shares[:7] == [1, 2, 4, 8, 16, 32, 32]


def test_what_is_of_no_use_any_more_is_passed_over_and_kinds_stand_apart() -> None:
    store = Store(20)

    async def walk() -> list[int | None]:
        ahead = Ahead(store.fetch, lambda number: number % 2 == 0)
        return [await ahead.take("x") for _ in range(3)] + [await ahead.take("y")]

    assert asyncio.run(walk()) == [None, 2, 4, 8]
    assert store.shares == [1, 2, 4, 1]


def test_a_share_that_cannot_be_had_is_said_and_asked_for_again() -> None:
    store = Store(1)

    async def walk() -> int | None:
        failing = True

        async def fetch(kind: str, most: int) -> list[int]:
            if failing:
                raise StoreUnavailable("not now")
            return await store.fetch(kind, most)

        ahead = Ahead(fetch)
        with pytest.raises(StoreUnavailable):
            await ahead.take("x")
        failing = False
        return await ahead.take("x")

    assert asyncio.run(walk()) == 1
