"""When ten minutes and an epoch are over, no copy of the store signs again."""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intaglio.clock import ManualClock
from intaglio.database.engine import reading
from intaglio.errors import KeyUnavailable, NotFound
from intaglio.service.composition import running
from intaglio.service.home import Home, open_home
from intaglio.signing.biography import Biography, biography
from intaglio.signing.destruction import destroy_expired
from intaglio.signing.identity import create_identity
from intaglio.signing.signature import sign_digest
from onboarded import DIGEST, caller, small_home
from served import JOHN_DOE


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = small_home(tmp_path / "home")
    yield made
    made.close()


def copy_of(home: Home, place: Path) -> Path:
    """Copy the database as a backup would, while the identity lives."""
    with sqlite3.connect(home.path / "intaglio.db") as source, sqlite3.connect(place) as target:
        source.backup(target)
    return place


def restore(copy: Path, home: Path) -> None:
    for path in home.glob("intaglio.db*"):
        path.unlink()
    shutil.copy(copy, home / "intaglio.db")


def lived(home: Home, copy: Path, minutes: int) -> tuple[str, datetime, Biography]:
    """Make an identity, sign, copy the store, and keep house after so many minutes."""

    async def walk() -> tuple[str, datetime]:
        clock = ManualClock(datetime.now(UTC))
        async with running(home, clock) as service:
            made = await create_identity(service.engine, who, JOHN_DOE, "r1")
            await sign_digest(service.engine, who, made.id, DIGEST, "r2")
            alive = clock.now()
            copy_of(home, copy)
            clock.advance(timedelta(minutes=minutes))
            assert await destroy_expired(service.engine) == 1
            return made.id, alive

    who = caller(home)
    identity_id, alive = asyncio.run(walk())
    with reading(home.engine) as connection:
        return identity_id, alive, biography(connection, identity_id)


def sign_again(home: Home, identity_id: str, at: datetime) -> bytes:
    """Try to sign with whatever the store now holds, the clock turned back."""

    async def walk() -> bytes:
        opened = open_home(home.path)
        try:
            async with running(opened, ManualClock(at)) as service:
                with reading(opened.engine) as connection:
                    account_id = biography(connection, identity_id).account_id
                return await sign_digest(service.engine, caller(home, account_id), identity_id, DIGEST, "r9")
        finally:
            opened.close()

    return asyncio.run(walk())


def test_after_its_epoch_a_restored_copy_cannot_sign(home: Home, tmp_path: Path) -> None:
    identity_id, alive, life = lived(home, tmp_path / "copy.db", minutes=71)
    assert life.used == 1
    assert life.born_at <= life.certified_at < life.not_after
    assert life.key_destroyed_at == life.epoch_destroyed_at == alive + timedelta(minutes=71)
    assert set(life.entries) == {"identity.created", "key.destroyed", "epoch.destroyed"}
    restore(tmp_path / "copy.db", home.path)
    # What rests under a sealing key that is lost is given up when a service starts, if that can be told.
    with pytest.raises((KeyUnavailable, NotFound), match=r"over|no sealing key|no such identity"):
        sign_again(home, identity_id, alive)


def test_control_before_its_epoch_is_over_the_restored_copy_signs(home: Home, tmp_path: Path) -> None:
    """The control of the test above, and the reason why epochs are short."""
    identity_id, alive, life = lived(home, tmp_path / "copy.db", minutes=11)
    assert life.key_destroyed_at is not None
    assert life.epoch_destroyed_at is None
    restore(tmp_path / "copy.db", home.path)
    assert len(sign_again(home, identity_id, alive)) == 256
