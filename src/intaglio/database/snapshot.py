"""A copy of a SQLite database as it is at one moment, made while others write."""

import sqlite3
from pathlib import Path

from sqlalchemy.engine import make_url

from intaglio.errors import StoreUnavailable

# To begin to read; writers do not keep a reader waiting.
_PATIENCE_SECONDS = 30.0


def file_of(url: str) -> Path | None:
    """Return the file of a SQLite database; None for a database that has none here."""
    parsed = make_url(url)
    return Path(parsed.database or "").resolve() if parsed.get_backend_name() == "sqlite" else None


def copy(database: Path, target: Path) -> None:
    """Copy what is in `database` to the new file `target`, mode 0600; raises `StoreUnavailable`.

    Only what is there is copied: nothing that was deleted comes along in free pages.
    """
    if not database.is_file():
        raise StoreUnavailable(f"there is no database at {database}")
    target.touch(mode=0o600, exist_ok=False)
    try:
        connection = sqlite3.connect(database, timeout=_PATIENCE_SECONDS, isolation_level=None)
        try:
            connection.execute("VACUUM INTO ?", (str(target),))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database cannot be copied: {error}") from error
