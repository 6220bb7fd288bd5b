"""What changes while a request waits is met by it: nobody is certified by what was true when it began."""

import asyncio
from pathlib import Path

import pytest

from intaglio.accounts.sessions import Caller
from intaglio.errors import AccountNotActive, StoreUnavailable
from intaglio.service.composition import running
from intaglio.signing.identity import create_identity
from onboarded import caller, small_home
from served import JOHN_DOE


@pytest.mark.parametrize("ends", [True, False])
def test_who_asked_is_asked_again_after_a_wait_in_which_something_changed(tmp_path: Path, ends: bool) -> None:
    home = small_home(tmp_path / "home")
    who = caller(home)
    times = 0

    async def again() -> Caller:
        nonlocal times
        times += 1
        if ends:
            raise AccountNotActive("The account is suspended.", {"account": "suspended"})
        return who

    async def walk() -> None:
        async with running(home) as service:
            asked = asyncio.create_task(create_identity(service.engine, who, JOHN_DOE, "r", again=again))
            # It waits for its key now.
            await asyncio.sleep(0)
            service.engine.live.clear()
            if ends:
                with pytest.raises(AccountNotActive):
                    await asked
                return
            await asked
            assert times == 1
            # Nothing changed meanwhile: nobody is asked.
            await create_identity(service.engine, who, JOHN_DOE, "r", again=again)

    asyncio.run(walk())
    assert times == 1
    home.close()


def test_a_request_is_not_begun_with_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = small_home(tmp_path / "home")
    who = caller(home)

    async def again() -> Caller:
        return who

    async def walk() -> None:
        async with running(home) as service:
            take = service.engine.pool.take

            async def changing(*wanted: object) -> object:
                service.engine.live.clear()
                return await take(*wanted)  # type: ignore[arg-type]

            monkeypatch.setattr(service.engine.pool, "take", changing)
            with pytest.raises(StoreUnavailable):
                await create_identity(service.engine, who, JOHN_DOE, "r", again=again)

    asyncio.run(walk())
    home.close()
