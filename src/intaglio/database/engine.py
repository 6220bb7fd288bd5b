"""Connections, transactions and the revision number that tells processes to forget what they know."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from sqlalchemy import Connection, Engine, inspect, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from intaglio.database import postgresql, sqlite
from intaglio.database.notices import CHANNEL
from intaglio.database.schema import revision
from intaglio.errors import ContentRefused, StoreUnavailable

_log = logging.getLogger("intaglio.database")

_MIGRATIONS = files("intaglio.database") / "migrations"


def open_engine(url: str, *, new: bool = False, lasting: bool = False) -> Engine:
    """Return an engine for the URL of a SQLite file or a PostgreSQL database, opened so that a commit is durable.

    One writer at a time begins a transaction, and a reader sees one moment. `lasting` is for a process that serves: it
    keeps its connections to a server. Raises `ContentRefused` for a URL that
    cannot be used, `StoreUnavailable` when there is no such file: only a `new` service begins with an empty database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ContentRefused("The database URL cannot be used.", {"database.url": str(error)}) from error
    match parsed.get_backend_name():
        case "sqlite":
            return sqlite.open_engine(parsed, new=new)
        case "postgresql":
            return postgresql.open_engine(parsed, lasting=lasting)
    kinds = "must begin with sqlite:/// or postgresql://"
    raise ContentRefused("The database URL cannot be used.", {"database.url": kinds})


def unavailable(error: SQLAlchemyError) -> StoreUnavailable:
    """Return the fault that stands for an error of the database."""
    # The driver's own sentence: SQLAlchemy's repeats the statement and its parameters.
    said = str(getattr(error, "orig", None) or type(error).__name__)
    if any(one in said for one in ("no such table", "no such column", 'relation "', 'column "')):
        said += "; it is of an older version: start the service once (intaglio serve), which brings it up to date"
    return StoreUnavailable(f"the database failed: {said}")


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection whose work is durable once the block ends; raises `StoreUnavailable`."""
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise unavailable(error) from error


@contextmanager
def rehearsal(engine: Engine) -> Iterator[Connection]:
    """Yield a connection whose work is taken back once the block ends; raises `StoreUnavailable`."""
    try:
        with engine.connect() as connection, connection.begin() as begun:
            yield connection
            begun.rollback()
    except SQLAlchemyError as error:
        raise unavailable(error) from error


@contextmanager
def reading(engine: Engine, *, patient: bool = False) -> Iterator[Connection]:
    """Yield a connection that sees one snapshot and writes nothing; raises `StoreUnavailable`.

    With `patient`, a statement may take as long as it takes: for what reads a whole table, and keeps nobody waiting.
    """
    try:
        with engine.connect().execution_options(reading=True) as connection:
            if patient and connection.dialect.name == "postgresql":
                postgresql.take_time(connection)
            yield connection
    except SQLAlchemyError as error:
        raise unavailable(error) from error


def truncate_log(engine: Engine) -> bool:
    """Have what was overwritten gone from SQLite's write-ahead log, too; return whether readers let it be."""
    return engine.dialect.name != "sqlite" or sqlite.truncate_log(engine)


def is_empty(connection: Connection) -> bool:
    """Return whether there is no table yet."""
    return not inspect(connection).get_table_names()


def check_durable(connection: Connection) -> None:
    """Raise `StoreUnavailable` if what is committed may be lost."""
    if connection.dialect.name == "postgresql":
        postgresql.check_durable(connection)


def migrate(connection: Connection) -> None:
    """Bring the schema to this version's, within a transaction; leave a newer one that this version can work with.

    Raises `StoreUnavailable` if it cannot. Versions of schemas are four digits.
    """
    there, here = _schema(connection), _newest_schema()
    if there == here:
        return
    if there is not None and there > here:
        oldest = connection.execute(select(revision.c.oldest)).scalar_one()
        if oldest > here:
            message = f"the database's schema is {there}, and the oldest that still serves is {oldest}; this is {here}"
            raise StoreUnavailable(f"{message}: install the newer version")
        _log.warning("the database is of a newer version (schema %s, here %s), which adds to it only", there, here)
        return
    # Slow to load, and seldom needed.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    if connection.dialect.name == "postgresql":
        postgresql.take_time(connection)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _schema(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    return found


def _newest_schema() -> str:
    return max(path.name[:4] for path in (_MIGRATIONS / "versions").iterdir() if path.name[:4].isdigit())


def bump_revision(connection: Connection) -> None:
    """Tell every process that accounts, credentials, policies or revocations have changed."""
    connection.execute(update(revision).values(value=revision.c.value + 1))
    _notify(connection)


def bump_sandboxes(connection: Connection) -> None:
    """Tell every process that a test account's sandbox has changed: what it knows of production stays."""
    connection.execute(update(revision).values(sandboxes=revision.c.sandboxes + 1))
    _notify(connection)


def _notify(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")


def current_revisions(connection: Connection) -> tuple[int, int]:
    """Return the numbers that `bump_revision` and `bump_sandboxes` raise."""
    row = connection.execute(select(revision.c.value, revision.c.sandboxes)).one()
    return row.value, row.sandboxes
