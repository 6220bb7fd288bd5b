"""One process, of all that share a database, does what must not be done by several: until it ends, or is cut off."""

import fcntl
import hashlib
import logging
import os
import threading
import time
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from intaglio.database.postgresql import session

_log = logging.getLogger("intaglio.database")

_LOOK_SECONDS = 1.0
# Without an answer from the database for so long, another may have it.
_BELIEVED_SECONDS = 3.0
# A holder that says nothing for so long, stopped or cut off, is put out by the server; PostgreSQL 14 and newer can.
_SILENT_MS = 15_000
_IDLE_SESSION_TIMEOUT = 140_000


class Tenure:
    """Whether this process holds the office called `name`; a thread of its own sees to it.

    The office falls to another process when this one ends in whatever way. What is done by who holds it must bear to be
    done twice all the same: who hangs for long enough may go on for a moment after another has begun.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._name = name
        self._lock: _Session | _File = (
            _Session(engine, name) if engine.dialect.name == "postgresql" else _File(f"{engine.url.database}-{name}")
        )
        self._until = 0.0
        self._tried = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"tenure {name}", daemon=True)

    @property
    def held(self) -> bool:
        """Whether it is this process that is to act now."""
        return time.monotonic() < self._until

    def start(self) -> None:
        """Begin to run for the office; return when it was tried once, or the database does not say."""
        self._thread.start()
        self._tried.wait(_BELIEVED_SECONDS)

    def stop(self) -> None:
        """Leave the office to others; a database that hangs is not waited for."""
        self._over.set()
        self._thread.join(_LOOK_SECONDS)
        self._until = 0.0

    def _watch(self) -> None:
        had = False
        while not self._over.is_set():
            asked = time.monotonic()
            has = self._lock.take()
            self._until = asked + _BELIEVED_SECONDS if has else 0.0
            if has != had:
                _log.info("%s: this process %s", self._name, "has it now" if has else "has it no more")
            had = has
            self._tried.set()
            self._over.wait(_LOOK_SECONDS)
        self._lock.leave()


class _Session:
    """An advisory lock of PostgreSQL: the server lets go of it when the session ends."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._number = int.from_bytes(hashlib.sha256(f"intaglio {name}".encode()).digest()[:8], signed=True)
        self._connection: Any = None

    def take(self) -> bool:
        try:
            if self._connection is not None:
                self._connection.execute("SELECT 1")
                return True
            connection = self._connect()
            if connection.execute("SELECT pg_try_advisory_lock(%s)", (self._number,)).fetchone()[0]:
                self._connection = connection
                return True
            connection.close()
        except (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error):
            self.leave()
        return False

    def leave(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
            self._connection = None

    def _connect(self) -> Any:
        connection = session(self._engine)
        if connection.info.server_version >= _IDLE_SESSION_TIMEOUT:
            connection.execute(f"SET idle_session_timeout = {_SILENT_MS}")
        return connection


class _File:
    """A lock on a file beside the one of SQLite: the kernel lets go of it when the process ends."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None

    def take(self) -> bool:
        if self._file is None:
            try:
                found = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError:
                return False
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(found)
                return False
            self._file = found
        return True

    def leave(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
