"""Exports of any length take the same memory and few statements, and what is none leaves no file."""

import asyncio
import io
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import event

from commands import BIN, run
from composed import composed
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict
from intaglio.ledger import tree, writer
from intaglio.ledger.entry import Event
from intaglio.service.export import export
from intaglio.service.heads import verifying_key
from intaglio.service.home import Home, open_home
from intaglio_client.export import verify_export
from onboarded import small_home

ROUNDS = 6


async def business(home: Home) -> None:
    """Have entries come into the tree in rounds, with those of another chain between."""
    async with composed(home) as (service, heads):
        for _ in range(ROUNDS):
            now = datetime.now(UTC)
            with transaction(home.engine) as connection:
                writer.Chain("service", "other").append(connection, [Event(now, "test")] * 2)
            await service.record(Event(now, "test"))
            await heads.sign(now)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    home = small_home(tmp_path / "home")
    asyncio.run(business(home))
    home.close()
    return tmp_path / "home"


def test_a_chain_is_read_by_one_statement_in_however_many_rounds_it_came(path: Path) -> None:
    asked: list[str] = []
    home = open_home(path)
    event.listen(home.engine, "before_cursor_execute", lambda *found: asked.append(found[2]))
    out = io.BytesIO()
    found = export(home, out)
    chains = len(found.chains)
    assert chains >= 2
    assert sum("ledger.body" in one for one in asked) == chains
    # Rounds of the tree, and every proof holds; a part of a chain begins and ends within rounds.
    with reading(home.engine) as connection:
        assert len(list(tree.ranges(connection))) > ROUNDS
        numbered = dict(tree.numbered(connection, "other", 2, 5))
        assert numbered == {one: tree.leaf_of(connection, "other", one) for one in (2, 3, 4, 5)}
        other = sum(1 for _ in tree.numbered(connection, "other", 1, 1000))
    assert other == 2 * ROUNDS
    key = verifying_key(home)
    assert key is not None
    assert verify_export(io.BytesIO(out.getvalue()), key=key.text).entries == found.entries
    home.close()


def test_a_missing_entry_is_named(path: Path) -> None:
    home = open_home(path)
    with transaction(home.engine) as connection:
        connection.execute(
            writer.ledger.delete().where(writer.ledger.c.chain == "other", writer.ledger.c.sequence == 3)
        )
    with pytest.raises(Conflict, match="entry other/3 is missing"):
        export(home, io.BytesIO())
    home.close()


def test_rounds_are_not_held_all_at_once(path: Path) -> None:
    home = open_home(path)
    rows = [{"leaf": 10_000 + one, "chain": "long", "first": one, "last": one} for one in range(1, 50_001)]
    with transaction(home.engine) as connection:
        connection.execute(tree.leaves.insert(), rows)
    with reading(home.engine) as connection:
        tracemalloc.start()
        assert sum(1 for _ in tree.numbered(connection, "long", 1, 50_000)) == 50_000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    home.close()
    assert peak < 2_000_000, f"{peak} bytes were held"


def test_what_cannot_be_exported_leaves_no_file(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = (BIN / "intaglio", "ledger", "export", "--home", path, "--out", out, "--json", "--chain")
    done = run(*command, "nope", check=False)
    assert done.returncode == 1
    assert "other" in msgspec.json.decode(done.stderr)["errors"]["chain"]
    assert not out.exists()
    # The control: the same file, and a chain that there is.
    run(*command, "other")
    assert len(out.read_bytes().splitlines()) == 1 + 2 * ROUNDS
