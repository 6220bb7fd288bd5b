"""Any change to the ledger is found, and the first bad entry named."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text, update

from intaglio.database.engine import migrate, open_engine, reading, transaction
from intaglio.errors import Conflict
from intaglio.ledger.entry import GENESIS, Event, entry_hash
from intaglio.ledger.verify import Verified, verify
from intaglio.ledger.writer import Chain, ledger, recorded

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made = open_engine(f"sqlite:///{tmp_path / 'test.db'}", new=True)
    with transaction(made) as connection:
        migrate(connection)
    with transaction(made) as connection:
        for number in range(10):
            Chain("test").append(connection, [Event(NOW, "signature.made", details={"number": number})])
    return made


def verified(engine: Engine) -> Verified:
    with reading(engine) as connection:
        return verify(recorded(connection))


def test_an_untouched_ledger_holds(engine: Engine) -> None:
    assert verified(engine).entries == 10
    engine.dispose()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE ledger SET body = CAST(replace(body, '4', '5') AS BLOB) WHERE sequence = 5", "main/5"),
        ("UPDATE ledger SET hash = previous WHERE sequence = 3", "main/3"),
        ("DELETE FROM ledger WHERE sequence = 4", "main/4"),
        ("DELETE FROM ledger WHERE sequence = 1", "main/1"),
        ("UPDATE ledger SET sequence = sequence + 100 WHERE sequence = 7", "main/7"),
        ("UPDATE ledger SET kind = 'x' WHERE sequence = 6", "main/6"),
        ("UPDATE ledger SET at = at + 1 WHERE sequence = 6", "main/6"),
        ("UPDATE ledger SET account_id = 'x' WHERE sequence = 6", "main/6"),
        ("UPDATE ledger SET reference = 'x' WHERE sequence = 6", "main/6"),
        ("UPDATE ledger SET request_id = 'x' WHERE sequence = 6", "main/6"),
        ("UPDATE ledger SET sequence = -sequence WHERE sequence IN (7, 8)", "main/1"),
    ],
)
def test_a_change_is_found_and_the_entry_named(engine: Engine, change: str, named: str) -> None:
    with transaction(engine) as connection:
        connection.execute(text(change))
    with pytest.raises(Conflict, match=named):
        verified(engine)
    engine.dispose()


@pytest.mark.parametrize("body", [b"{}", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_entry_is_named_also_where_the_chain_fits(engine: Engine, body: bytes) -> None:
    with transaction(engine) as connection:
        previous = GENESIS
        for one in list(recorded(connection)):
            content = body if one.sequence == 6 else one.body
            changed = update(ledger).where(ledger.c.sequence == one.sequence)
            found = entry_hash(previous, content)
            connection.execute(changed.values(body=content, previous=previous, hash=found))
            previous = found
    with pytest.raises(Conflict, match="main/6 cannot be read"):
        verified(engine)
    engine.dispose()
