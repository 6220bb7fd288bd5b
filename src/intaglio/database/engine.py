"""Connections, transactions and the revision number that tells processes to forget what they know."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from intaglio.database.schema import revision
from intaglio.errors import ContentRefused, StoreUnavailable


def open_engine(url: str, *, new: bool = False) -> Engine:
    """Return an engine for `url`; SQLite is opened in WAL mode with `synchronous=FULL`.

    Raises `ContentRefused` for a URL that cannot be used, `StoreUnavailable` when there is no such file: only a `new`
    service begins with an empty database.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ContentRefused("The database URL cannot be used.", {"database.url": str(error)}) from error
    if not new and not Path(parsed.database or "").is_file():
        raise StoreUnavailable(f"there is no database at {parsed.database}: restore it, or correct database.url")
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": 5.0})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # Python's own transaction control is off so that BEGIN IMMEDIATE below is the only one.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        # A destroyed key must not linger in free pages.
        cursor.execute("PRAGMA secure_delete=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: read-then-write can't be overtaken in between.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def unavailable(error: SQLAlchemyError) -> StoreUnavailable:
    """Return the fault that stands for an error of the database."""
    # The driver's own sentence: SQLAlchemy's repeats the statement and its parameters.
    said = str(getattr(error, "orig", None) or type(error).__name__)
    if "no such table" in said or "no such column" in said:
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
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that sees one snapshot and writes nothing; raises `StoreUnavailable`."""
    try:
        with engine.connect().execution_options(reading=True) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise unavailable(error) from error


def truncate_log(engine: Engine) -> bool:
    """Have what was overwritten gone from SQLite's write-ahead log, too; return whether readers let it be."""
    if engine.dialect.name != "sqlite":
        return True
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        # Waits for readers as long as any statement waits.
        busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.close()
    finally:
        connection.close()
    return not busy


def migrate(engine: Engine) -> None:
    """Bring the schema to this version's."""
    # Needed when a service is made or starts, and slow to load for every other command.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(files("intaglio.database") / "migrations"))
    with transaction(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def bump_revision(connection: Connection) -> None:
    """Tell every process that accounts, credentials, policies or revocations have changed."""
    connection.execute(update(revision).values(value=revision.c.value + 1))


def bump_sandboxes(connection: Connection) -> None:
    """Tell every process that a test account's sandbox has changed: what it knows of production stays."""
    connection.execute(update(revision).values(sandboxes=revision.c.sandboxes + 1))


def current_revisions(connection: Connection) -> tuple[int, int]:
    """Return the numbers that `bump_revision` and `bump_sandboxes` raise."""
    row = connection.execute(select(revision.c.value, revision.c.sandboxes)).one()
    return row.value, row.sandboxes
