"""Each identity token serves once: what was used is on record for as long as it could be used again."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, Connection, LargeBinary, Table, delete, select

from intaglio.database.schema import Instant, metadata

used_tokens = Table(
    "used_identity_tokens",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("until", Instant, nullable=False, index=True),
)


def used(connection: Connection, digests: Sequence[bytes]) -> bool:
    """Return whether any of the SHA-256 digests was used."""
    found = connection.execute(select(used_tokens.c.sha256).where(used_tokens.c.sha256.in_(digests)).limit(1))
    return found.first() is not None


def use(connection: Connection, digests: Sequence[bytes], until: datetime) -> None:
    """Put digests on record that were not used. One process at a time may write."""
    connection.execute(used_tokens.insert(), [{"sha256": digest, "until": until} for digest in digests])


def over(connection: Connection, now: datetime) -> bool:
    """Return whether there is anything to forget."""
    return (
        connection.execute(select(used_tokens.c.sha256).where(used_tokens.c.until < now).limit(1)).first() is not None
    )


def forget(connection: Connection, now: datetime) -> None:
    """Forget what could not be used again anyway."""
    connection.execute(delete(used_tokens).where(used_tokens.c.until < now))
