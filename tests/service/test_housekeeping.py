"""What is done for all is done by who holds the office, and by the next when it ends."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intaglio.clock import ManualClock
from intaglio.database.engine import reading
from intaglio.database.tenure import Tenure
from intaglio.ledger.writer import latest
from intaglio.service.audit import audit
from intaglio.service.composition import running
from intaglio.service.home import Home
from intaglio.service.housekeeping import OFFICE
from intaglio.signing.identity import create_identity
from onboarded import caller, small_home
from served import JOHN_DOE


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = small_home(tmp_path / "home")
    yield made
    made.close()


async def _within(seconds: float, happened: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if happened():
            return True
        await asyncio.sleep(0.1)
    return False


def test_only_who_holds_the_office_destroys_for_all(home: Home) -> None:
    clock = ManualClock(datetime.now(UTC))
    who = caller(home)

    def destroyed() -> bool:
        with reading(home.engine) as connection:
            return bool(latest(connection, most=1, kind="key.destroyed"))

    async def walk() -> None:
        other = Tenure(home.engine, OFFICE)
        other.start()
        assert other.held
        async with running(home, clock) as service:
            await create_identity(service.engine, who, JOHN_DOE, "r1")
            clock.advance(timedelta(minutes=11))
            assert not await _within(2, destroyed)
            other.stop()
            assert await _within(10, destroyed)
        assert audit(home).findings == []

    asyncio.run(walk())
