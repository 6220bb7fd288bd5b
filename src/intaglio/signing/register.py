"""The register of signing identities and their sealed keys."""

from datetime import datetime

import msgspec
from sqlalchemy import Column, Connection, ForeignKey, LargeBinary, String, Table, and_, select, update

from intaglio.database.schema import Instant, metadata
from intaglio.revocation.register import State, certificates

identities = Table(
    "identities",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", String(32), ForeignKey("accounts.id"), nullable=False),
    Column("issuer", String(32), nullable=False),
    Column("serial", String(40), nullable=False),
    Column("algorithm", String(16), nullable=False),
    Column("sealed_key", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Column("not_after", Instant, nullable=False, index=True),
    Column("destroyed_at", Instant),
)


class Identity(msgspec.Struct, frozen=True):
    """A signing identity; `sealed_key` None means that its key is destroyed."""

    id: str
    account_id: str
    issuer: str
    serial: str
    algorithm: str
    sealed_key: bytes | None
    created_at: datetime
    not_after: datetime
    destroyed_at: datetime | None = None


def add(connection: Connection, identity: Identity) -> None:
    """Write a new identity."""
    connection.execute(identities.insert(), msgspec.structs.asdict(identity))


def usable(connection: Connection, identity_id: str, account_id: str, now: datetime) -> Identity | None:
    """Return an account's identity whose key may sign now, or None: unknown, foreign, expired and revoked are one."""
    certificate = and_(certificates.c.issuer == identities.c.issuer, certificates.c.serial == identities.c.serial)
    row = connection.execute(
        select(identities)
        .join(certificates, certificate)
        .where(
            identities.c.id == identity_id,
            identities.c.account_id == account_id,
            identities.c.not_after >= now,
            identities.c.sealed_key.is_not(None),
            certificates.c.state == State.ISSUED,
        )
    ).one_or_none()
    return None if row is None else _identity(row)


def expired(connection: Connection, now: datetime, most: int = 500) -> list[Identity]:
    """Return identities whose time is over and whose key still exists."""
    rows = connection.execute(
        select(identities)
        .where(identities.c.not_after < now, identities.c.sealed_key.is_not(None))
        .order_by(identities.c.not_after)
        .limit(most)
    )
    return [_identity(row) for row in rows]


def destroy_keys(connection: Connection, identity_ids: list[str], now: datetime) -> None:
    """Overwrite the sealed keys; what stays is that there was an identity."""
    connection.execute(
        update(identities).where(identities.c.id.in_(identity_ids)).values(sealed_key=None, destroyed_at=now)
    )


def _identity(row: object) -> Identity:
    return Identity(**{name: getattr(row, name) for name in Identity.__struct_fields__})
