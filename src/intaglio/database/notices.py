"""News of administrative changes as they are committed, where the database tells of them; it may tell of none.

Notices save time and nothing else: whoever relies on a change being noticed asks the database now and then.
"""

import logging
import threading
from collections.abc import Callable

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from intaglio.database.postgresql import session

_log = logging.getLogger("intaglio.database")

CHANNEL = "intaglio"
_AGAIN_SECONDS = 1.0
# How soon it is noticed that nobody listens any more.
_LOOK_SECONDS = 0.5


class Notices:
    """Calls `told`, from a thread of its own, whenever another process or this one may have changed something."""

    def __init__(self, engine: Engine, told: Callable[[], None]) -> None:
        self._engine = engine
        self._told = told
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="notices", daemon=True)

    def start(self) -> None:
        """Begin to listen; SQLite tells nobody."""
        if self._engine.dialect.name == "postgresql":
            self._thread.start()

    def stop(self) -> None:
        """Listen no more; a database that hangs is not waited for."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(2 * _LOOK_SECONDS)

    def _listen(self) -> None:
        faults = (SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error)
        while not self._over.is_set():
            try:
                with session(self._engine) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    # What was told while nobody listened is lost.
                    self._told()
                    while not self._over.is_set():
                        for _ in connection.notifies(timeout=_LOOK_SECONDS, stop_after=1):
                            self._told()
            except faults as error:
                _log.warning("nothing is heard of changes, which are asked for all the same: %s", type(error).__name__)
                self._over.wait(_AGAIN_SECONDS)
