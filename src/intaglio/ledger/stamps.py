"""Time-stamps on signed heads (RFC 3161), at rest."""

from collections.abc import Iterator
from datetime import datetime

import msgspec
from sqlalchemy import BigInteger, Column, Connection, LargeBinary, String, Table, desc, exists, select

from intaglio.database.schema import Instant, metadata
from intaglio.ledger.tree import leaves
from intaglio.ledger.writer import ledger

# The kind of the entries that tell of stamps: these alone give no reason for another.
STAMPED = "head.stamped"

stamps = Table(
    "ledger_stamps",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("authority", String(255), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("token", LargeBinary, nullable=False),
)


class Stamp(msgspec.Struct, frozen=True):
    """A time-stamp token (DER) over the SHA-256 of the note of the head of `size`.

    `authority` is who made it: a TSA of ours by its name, a foreign one by its URL.
    """

    size: int
    authority: str
    at: datetime
    token: bytes


def add(connection: Connection, stamp: Stamp) -> None:
    """Write a stamp."""
    connection.execute(stamps.insert().values(msgspec.structs.asdict(stamp)))


def latest(connection: Connection, *, foreign: bool = False) -> Stamp | None:
    """Return the stamp on the largest tree, of ours or of foreign authorities."""
    by_url = stamps.c.authority.contains("://", autoescape=True)
    query = select(stamps).where(by_url if foreign else ~by_url).order_by(desc(stamps.c.size)).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else Stamp(*row)


def covering(connection: Connection, size: int) -> int | None:
    """Return the size of the first stamped head over at least so many leaves."""
    query = select(stamps.c.size).where(stamps.c.size >= size).order_by(stamps.c.size).limit(1)
    return connection.execute(query).scalar_one_or_none()


def on(connection: Connection, size: int) -> list[Stamp]:
    """Return the stamps on the head of a size."""
    query = select(stamps).where(stamps.c.size == size).order_by(stamps.c.authority)
    return [Stamp(*row) for row in connection.execute(query)]


def every(connection: Connection) -> Iterator[Stamp]:
    """Yield all stamps by size."""
    rows = connection.execute(select(stamps).order_by(stamps.c.size), execution_options={"yield_per": 1000})
    return (Stamp(*row) for row in rows)


def worth_stamping(connection: Connection, stamped: int, size: int) -> bool:
    """Return whether the leaves from `stamped` to `size` tell of anything but stamps."""
    other = exists().where(
        ledger.c.chain == leaves.c.chain,
        ledger.c.sequence.between(leaves.c.first, leaves.c.last),
        ledger.c.kind != STAMPED,
    )
    # The first that does ends the search, however much there is.
    query = select(leaves.c.leaf).where(leaves.c.leaf >= stamped, leaves.c.leaf < size, other)
    return connection.execute(query.order_by(leaves.c.leaf).limit(1)).first() is not None
