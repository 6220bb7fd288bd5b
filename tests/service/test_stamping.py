"""Heads of the ledger are stamped, and openssl verifies the stamps; an idle service does not stamp its own stamps."""

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from commands import run
from composed import composed
from intaglio.database.engine import reading
from intaglio.errors import Conflict
from intaglio.ledger import stamps, tree
from intaglio.ledger.entry import Event
from intaglio.ledger.examination import Examined, examine
from intaglio.ledger.outside import kept
from intaglio.service.heads import verifying_key
from intaglio.service.home import Home, open_home
from intaglio.service.stamping import due, imprint, judge, stamp
from onboarded import small_home

SOON, LATER = timedelta(seconds=30), timedelta(minutes=2)


async def walk(home: Home) -> None:
    async with composed(home) as (service, heads):
        commits, now = service.engine.commits, datetime.now(UTC)
        assert await commits.read(lambda c: due(c, now)) is None
        await heads.sign(now)
        head = await commits.read(lambda c: due(c, now))
        assert head is not None
        await stamp(home, service.engine, head, now)
        # The entry about the stamp is new, and no reason for another, now or later.
        for _ in range(3):
            await heads.sign(now)
            assert await commits.read(lambda c: due(c, now + LATER)) is None
        grown = await commits.read(tree.newest)
        assert grown is not None
        assert grown.size == head.size + 1
        # The control: anything else is, once a minute is over.
        await service.record(Event(now, "test"))
        await heads.sign(now)
        assert await commits.read(lambda c: due(c, now + SOON)) is None
        head = await commits.read(lambda c: due(c, now + LATER))
        assert head is not None
        await stamp(home, service.engine, head, now + LATER)
        await heads.sign(now)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stamped") / "home"
    home = small_home(path)
    asyncio.run(walk(home))
    home.close()
    return path


def examined(path: Path) -> Examined:
    home = open_home(path)
    try:
        with reading(home.engine) as connection:
            return examine(connection, verifying_key(home), kept(path / "heads"), judge=judge(home))
    finally:
        home.close()


def test_openssl_verifies_the_stamp_on_a_head(path: Path, tmp_path: Path) -> None:
    home = open_home(path)
    with reading(home.engine) as connection:
        made = list(stamps.every(connection))
        notes = {one.size: one.note for one in tree.every_head(connection)}
    home.close()
    assert len(made) == 2
    for one in made:
        (tmp_path / "token").write_bytes(one.token)
        command = ("openssl", "ts", "-verify", "-in", tmp_path / "token", "-token_in", "-CAfile", path / "pki/root.crt")
        assert b"OK" in run(*command, "-digest", imprint(notes[one.size]).hex()).stdout
        assert run(*command, "-digest", imprint("x").hex(), check=False).returncode != 0


def test_stamps_are_verified_with_the_ledger(path: Path) -> None:
    found = examined(path)
    assert (found.stamps, found.entries) == (2, found.leaves)
    database = sqlite3.connect(path / "intaglio.db")
    tokens = dict(database.execute("SELECT size, token FROM ledger_stamps").fetchall())
    first, second = sorted(tokens)
    changed = bytearray(tokens[first])
    changed[-1] ^= 1
    # On another head, and not what was signed.
    for token in (tokens[second], bytes(changed), b""):
        database.execute("UPDATE ledger_stamps SET token = ? WHERE size = ?", (token, first))
        database.commit()
        with pytest.raises(Conflict, match=f"on the head of size {first} does not hold"):
            examined(path)
    database.execute("UPDATE ledger_stamps SET token = ? WHERE size = ?", (tokens[first], first))
    database.commit()
    assert examined(path).stamps == 2
    database.execute("DELETE FROM ledger_stamps WHERE size = ?", (first,))
    database.commit()
    with pytest.raises(Conflict, match="2 time-stamps were made, and 1 are there"):
        examined(path)
