"""Identities' keys as objects of a token: each is destroyed there, on its own."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import custody
from intaglio.clock import ManualClock
from intaglio.errors import NotFound
from intaglio.keys.custody import Form
from intaglio.service.composition import running
from intaglio.service.initialisation import initialise
from intaglio.signing.destruction import destroy_expired
from intaglio.signing.identity import create_identity
from intaglio.signing.signature import sign_digest
from onboarded import DIGEST, caller
from served import JOHN_DOE


@pytest.mark.skipif(not custody.ON_TOKEN, reason="needs the run's token")
def test_a_resident_key_signs_and_is_destroyed_on_the_token(tmp_path: Path) -> None:
    beginning = custody.beginning(identities="resident", algorithm="p-256")
    home = initialise(tmp_path / "home", beginning, datetime.now(UTC), lambda _: None)
    assert home.identities == Form.RESIDENT
    token = home.token
    assert token is not None
    who = caller(home)

    async def walk() -> None:
        clock = ManualClock(datetime.now(UTC))
        async with running(home, clock) as service:
            engine = service.engine
            made = await create_identity(engine, who, JOHN_DOE, "r1")
            engine.live.clear()
            assert len(await sign_digest(engine, who, made.id, DIGEST, "r2")) == 256
            assert bytes.fromhex(made.id) in token.key_ids()
            clock.advance(timedelta(minutes=11))
            assert await destroy_expired(engine) == 1
            assert bytes.fromhex(made.id) not in token.key_ids()
            with pytest.raises(NotFound):
                await sign_digest(engine, who, made.id, DIGEST, "r3")

    asyncio.run(walk())
    home.close()
