"""From 0012 on a migration only adds, so that the version before serves beside it, unless it says otherwise."""

import re

import pytest
from sqlalchemy import event, select

from intaglio.database.engine import migrate, open_engine, transaction
from intaglio.database.schema import metadata, revision
from postgres import Server

ADDS = re.compile(
    r"CREATE TABLE |CREATE (UNIQUE )?INDEX |INSERT INTO |UPDATE alembic_version |"
    r"ALTER TABLE \w+ ADD COLUMN (?!.*NOT NULL)|ALTER TABLE \w+ ADD COLUMN .*DEFAULT .*NOT NULL",
)


def only_adds(statement: str) -> bool:
    return ADDS.match(" ".join(statement.split())) is not None


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE ledger",
        "ALTER TABLE ledger DROP COLUMN body",
        "ALTER TABLE ledger RENAME COLUMN body TO text",
        "ALTER TABLE ledger ADD COLUMN more INTEGER NOT NULL",
        "ALTER TABLE ledger ALTER COLUMN reference SET NOT NULL",
        "UPDATE accounts SET state = 'active'",
    ],
)
def test_what_takes_away_is_seen(statement: str) -> None:
    assert not only_adds(statement)


def test_migrations_only_add(store: Server) -> None:
    engine = open_engine(store.new_database())
    done: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: done.append(statement))
    with transaction(engine) as connection:
        migrate(connection)
        oldest = connection.execute(select(revision.c.oldest)).scalar_one()
    # Each ends with the number it brought the database to.
    begun = next(place for place, one in enumerate(done) if f"SET version_num='{oldest}'" in one) + 1
    changes = [one for one in done[begun:] if not one.lstrip().startswith("SELECT")]
    assert [one for one in changes if not only_adds(one)] == []


def test_the_newest_schema_is_the_one_that_the_registers_use(store: Server) -> None:
    engine = open_engine(store.new_database())
    with transaction(engine) as connection:
        migrate(connection)
        for table in metadata.sorted_tables:
            connection.execute(select(table).limit(1))
