"""What is compiled once does what SQLAlchemy does, types and errors included."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from intaglio.database.engine import open_engine
from intaglio.database.schema import Instant
from intaglio.database.statement import Statement

things = Table(
    "things",
    MetaData(),
    Column("name", String(10), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("octets", LargeBinary),
    Column("state", String(10)),
)
AT = datetime(2026, 11, 24, 12, 30, 1, 5, UTC)
ROWS = [{"name": name, "at": AT, "octets": b"\x00\xff", "state": None} for name in "abc"]
INSERT = Statement(things.insert(), ["name", "at", "octets", "state"])
CLOSE = Statement(
    update(things)
    .where(things.c.name == bindparam("which"), things.c.at <= bindparam("until"), things.c.state.is_(None))
    .values(state="closed", at=bindparam("until"))
)


@pytest.fixture(params=["sqlite", "postgresql"])
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    if request.param == "sqlite":
        engine: Engine = create_engine("sqlite://")
    else:
        engine = open_engine(request.getfixturevalue("store").new_database())
    things.metadata.create_all(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("number", [1, 3])
def test_rows_come_out_as_they_went_in(connection: Connection, number: int) -> None:
    INSERT.run(connection, ROWS[:number])
    found = connection.execute(select(things).order_by(things.c.name)).all()
    assert [row._asdict() for row in found] == ROWS[:number]


def test_conditions_constants_and_repeated_parameters_hold(connection: Connection) -> None:
    INSERT.run(connection, ROWS)
    earlier = AT.replace(year=2025)
    done = CLOSE.run(connection, [{"which": "a", "until": AT}, {"which": "b", "until": earlier}])
    assert done.rowcount == 1
    assert CLOSE.run(connection, [{"which": "a", "until": AT}]).rowcount == 0
    states = {row.name: row.state for row in connection.execute(select(things))}
    assert states == {"a": "closed", "b": None, "c": None}


def test_the_database_s_no_is_sqlalchemy_s_error(connection: Connection) -> None:
    INSERT.run(connection, ROWS)
    with pytest.raises(IntegrityError):
        INSERT.run(connection, ROWS[:1])


def test_what_cannot_be_compiled_once_is_refused(connection: Connection) -> None:
    with pytest.raises(NotImplementedError):
        Statement(select(things).where(things.c.name.in_(["a", "b"]))).run(connection, [{}])


def test_other_dialects_get_their_own_text() -> None:
    placed = CLOSE._compile(postgresql.dialect(paramstyle="numeric_dollar"))  # type: ignore[no-untyped-call]
    assert "$1" in placed.sql
    assert placed.names is None
    named = CLOSE._compile(postgresql.dialect(paramstyle="pyformat"))  # type: ignore[no-untyped-call]
    assert named.names is not None
    assert all(f"%({name})s" in named.sql for name in named.names)
    for compiled in (placed, named):
        assert {place.name for place in compiled.places} == {None, "which", "until"}


def test_parameters_with_names_are_given_by_name() -> None:
    engine = create_engine("sqlite://", paramstyle="named")
    things.metadata.create_all(engine)
    with engine.begin() as connection:
        Statement(things.insert(), ["name", "at", "octets", "state"]).run(connection, ROWS)
        assert [row._asdict() for row in connection.execute(select(things))] == ROWS
    engine.dispose()
