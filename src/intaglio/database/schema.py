"""Metadata that every register hangs its tables on, and the column types they share."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table
from sqlalchemy.types import TypeDecorator

metadata = MetaData()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """A UTC time, stored as microseconds since 1970 so that every database orders it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        """Return microseconds for the database."""
        del dialect
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        """Return an aware UTC time."""
        del dialect
        return None if value is None else moment(value)


def moment(stored: int) -> datetime:
    """Return the UTC time of a stored number."""
    return _EPOCH + timedelta(microseconds=stored)


# One row, raised by every administrative change: what a process remembers of accounts and
# revocations is forgotten as soon as this number moves.
revision = Table(
    "revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
    # Apart, so that nobody at play has production forget anything.
    Column("sandboxes", BigInteger, nullable=False, server_default="0"),
    # The oldest schema for which a service may be made that works with this database.
    Column("oldest", String(4), nullable=False, server_default="0012"),
)
