"""Heads of the ledger are stamped, and openssl verifies the stamps; an idle service does not stamp its own stamps."""

import asyncio
import dataclasses
import shutil
import sqlite3
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from commands import run
from composed import composed
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict
from intaglio.ledger import stamps, tree
from intaglio.ledger.entry import Event
from intaglio.ledger.examination import Examined, examine
from intaglio.ledger.outside import kept
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service.heads import verifying_key
from intaglio.service.home import Home, open_home
from intaglio.service.stamping import due, imprint, judge, stamp, stamp_heads
from intaglio.timestamping import token
from intaglio.timestamping.tsp import sha256_imprint
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


def test_what_was_not_stamped_for_weeks_is_not_read_to_see_that_it_is_there(tmp_path: Path) -> None:
    home = small_home(tmp_path / "home")
    size = 50_000
    with transaction(home.engine) as connection:
        home.chain.append(connection, [Event(datetime.now(UTC), "test")])
        last = tree.chains(connection)["main"]
        # Whichever entries they are: what counts is how many rows there are.
        rows = [{"leaf": leaf, "chain": "main", "first": last - leaf, "last": last} for leaf in range(size)]
        connection.execute(tree.leaves.insert(), rows)
    with reading(home.engine) as connection:
        stamps.worth_stamping(connection, 0, 1)
        tracemalloc.start()
        assert stamps.worth_stamping(connection, 0, size)
        assert not stamps.worth_stamping(connection, size, size + 1)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    home.close()
    assert peak < 500_000, f"{peak} bytes were held"


def test_without_an_authority_nothing_is_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def rounds(home: Home) -> None:
        async with composed(home) as (service, _):
            engine = service.engine
            revoked = frozenset({engine.stamping(Hierarchy.PRODUCTION)})
            work = stamp_heads(home, dataclasses.replace(engine, revoked=revoked))
            asked: list[object] = []
            event.listen(home.engine, "before_cursor_execute", lambda *found: asked.append(found))
            await work()
            await work()
            assert not asked

    home = small_home(tmp_path / "home")
    asyncio.run(rounds(home))
    home.close()
    assert caplog.text.count("heads of the ledger are not stamped") == 1


def test_a_stamp_by_a_clock_that_was_ahead_keeps_none_away(path: Path, tmp_path: Path) -> None:
    home = open_home(Path(shutil.copytree(path, tmp_path / "home")))
    with transaction(home.engine) as connection:
        home.chain.append(connection, [Event(datetime.now(UTC), "test")])

    async def signed() -> None:
        async with composed(home) as (_, heads):
            await heads.sign(datetime.now(UTC))

    asyncio.run(signed())
    with reading(home.engine) as connection:
        last = stamps.latest(connection)
        assert last is not None
        assert due(connection, last.at - SOON) is None
        assert due(connection, last.at - timedelta(days=300)) == tree.newest(connection)
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


def oldest(path: Path) -> tuple[int, bytes]:
    database = sqlite3.connect(path / "intaglio.db")
    size, made = database.execute("SELECT size, token FROM ledger_stamps ORDER BY size LIMIT 1").fetchone()
    return int(size), bytes(made)


def another(path: Path, authority: str, *, serial: int = 0, later: timedelta = timedelta(0)) -> bytes:
    """Return a good token over the same note, as who has an authority stamp it gets: anybody, at the public /tsa."""
    made = token.opened(oldest(path)[1])

    async def asked() -> bytes:
        async with composed(home) as (service, _):
            stamper = service.engine.authorities[authority]
            return stamper.stamp(sha256_imprint(made.imprint), made.serial + serial, made.time + later)

    home = open_home(path)
    found = asyncio.run(asked())
    home.close()
    assert token.opened(found).imprint == made.imprint
    return found


@pytest.mark.parametrize(
    "attack",
    [
        {"authority": "tsa", "serial": 1},
        {"authority": "tsa", "later": timedelta(milliseconds=1)},
        {"authority": "test-tsa"},
        "UPDATE ledger_stamps SET at = at + 1 WHERE size = {first}",
        "UPDATE ledger_stamps SET authority = 'zzz' WHERE size = {first}",
        "UPDATE ledger_stamps SET size = {first}, authority = 'zzz', token = {token} WHERE size != {first}",
    ],
)
def test_a_stamp_is_the_one_that_its_entry_tells_of(path: Path, tmp_path: Path, attack: str | dict[str, Any]) -> None:
    path = Path(shutil.copytree(path, tmp_path / "home"))
    size, made = oldest(path)
    # The control, below: the same one made anew is as good as it.
    again = another(path, "tsa")
    database = sqlite3.connect(path / "intaglio.db")
    if isinstance(attack, str):
        database.execute(attack.format(first=size, token=f"x'{made.hex()}'"))
    else:
        database.execute("UPDATE ledger_stamps SET token = ? WHERE size = ?", (another(path, **attack), size))
    database.commit()
    with pytest.raises(Conflict, match=f"on the head of size {size} does not hold"):
        examined(path)
    if isinstance(attack, dict):
        database.execute("UPDATE ledger_stamps SET token = ? WHERE size = ?", (again, size))
        database.commit()
        assert examined(path).stamps == 2


def test_stamps_are_verified_with_the_ledger(path: Path) -> None:
    found = examined(path)
    assert (found.stamps, found.entries) == (2, found.leaves)
    database = sqlite3.connect(path / "intaglio.db")
    tokens = dict(database.execute("SELECT size, token FROM ledger_stamps").fetchall())
    first, second = sorted(tokens)
    changed = bytearray(tokens[first])
    changed[-1] ^= 1
    # On another head, and not what was signed.
    for wrong in (tokens[second], bytes(changed), b""):
        database.execute("UPDATE ledger_stamps SET token = ? WHERE size = ?", (wrong, first))
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
