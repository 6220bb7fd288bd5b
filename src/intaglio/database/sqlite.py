"""SQLite: one file, for a service on one machine; what is committed is on the disk."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from intaglio.errors import StoreUnavailable


def open_engine(url: URL, *, new: bool) -> Engine:
    """Return an engine in WAL mode with `synchronous=FULL`; raises `StoreUnavailable` for a file that is not there."""
    if not new and not Path(url.database or "").is_file():
        raise StoreUnavailable(f"there is no database at {url.database}: restore it, or correct database.url")
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


def truncate_log(engine: Engine) -> bool:
    """Have what was overwritten gone from the write-ahead log, too; return whether readers let it be."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        # Waits for readers as long as any statement waits.
        busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        cursor.close()
    finally:
        connection.close()
    return not busy
