"""Whether requests should be sent here: all who ask meanwhile share a look, and what was found is kept a moment."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import event

from composed import composed
from intaglio.service import readiness
from onboarded import small_home


def test_who_asks_often_makes_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = small_home(tmp_path / "home")
    asked: list[str] = []

    def listen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "SELECT" in statement:
            asked.append(statement)

    async def walk() -> None:
        async with composed(home) as (service, _):
            event.listen(home.engine, "before_cursor_execute", listen)

            async def looks(times: int) -> int:
                asked.clear()
                assert await asyncio.gather(*(service.ready() for _ in range(times))) == [{}] * times
                return len(asked)

            one = await looks(1)
            assert one >= 1
            monkeypatch.setattr(readiness, "KEPT_SECONDS", 0)
            # The control: what is not kept is looked at again, once for all who ask at a time.
            assert [await looks(50), await looks(1)] == [one, one]
            monkeypatch.setattr(readiness, "KEPT_SECONDS", 3600)
            assert await looks(50) == 0
            # That it drains is told at once.
            service.draining = True
            assert await service.ready() == {"listener": "draining"}
            # Who asked first and went away takes nothing from the others.
            service.draining = False
            monkeypatch.setattr(readiness, "KEPT_SECONDS", 0)
            first, second = (asyncio.create_task(service.ready()) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            assert await second == {}

    asyncio.run(walk())
    home.close()
