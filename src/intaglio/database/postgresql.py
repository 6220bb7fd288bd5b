"""PostgreSQL: one database for any number of processes and machines; what is committed is on its disk."""

import hashlib
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event

from intaglio.errors import StoreUnavailable

# What writers take turns by: a number that nothing else in the database will think of ("intaglio", as octets).
_WRITERS = int.from_bytes(b"intaglio")
# The same for those who append to one chain of the ledger and change nothing else but single rows: the first of two
# numbers, of which the second is the chain's.
_CHAINS = int.from_bytes(b"chai")
# The option of a connection that says which chain that is.
BESIDE = "beside"
_CONNECT_SECONDS = 5
# How long a statement may take, and how long a server that says nothing at all is waited for.
_STATEMENT_MS = 15_000
_SILENCE_MS = 15_000
# How long a change of the schema waits for those who read.
_LOCK_MS = 3_000


def open_engine(url: URL, *, lasting: bool) -> Engine:
    """Return an engine whose writers take turns as SQLite's do; it connects when it is first needed.

    Unless it is `lasting`, it lets go of each connection after use: commands end without saying so.
    """
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        **({} if lasting else {"poolclass": NullPool}),
        # A server that was started anew is noticed before anything is asked of it.
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "tcp_user_timeout": _SILENCE_MS,
            "application_name": "intaglio",
            # A commit is on the disk when it returns, whatever the server does for others.
            "options": f"-c synchronous_commit=on -c statement_timeout={_STATEMENT_MS}",
        },
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("reading", False):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        elif options.get(BESIDE) is not None:
            # Everybody else who writes waits for it, and it for them, but not for its like of another chain.
            turn = f"pg_advisory_xact_lock({_CHAINS}, {_number(options[BESIDE])})"
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock_shared({_WRITERS}), {turn}")
        else:
            # As in SQLite: read-then-write can't be overtaken in between.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")

    return engine


def _number(chain: str) -> int:
    return int.from_bytes(hashlib.sha256(chain.encode()).digest()[:4], signed=True)


def session(engine: Engine) -> Any:
    """Return a connection of psycopg for one purpose, out of the pool for good and without transactions."""
    lent = engine.raw_connection()
    connection: Any = lent.driver_connection
    lent.detach()
    connection.autocommit = True
    return connection


def check_durable(connection: Connection) -> None:
    """Raise `StoreUnavailable` if the server may lose what it has committed."""
    for name in ("fsync", "full_page_writes"):
        if connection.exec_driver_sql(f"SHOW {name}").scalar_one() != "on":
            raise StoreUnavailable(f"the database server would lose signatures in a crash: it runs with {name} off")


def take_time(connection: Connection) -> None:
    """Let the rest of this transaction take as long as it takes: what is done to a schema can take hours.

    For a table that somebody reads it waits for a moment only: all who come to read would wait behind it.
    """
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_LOCK_MS}")
