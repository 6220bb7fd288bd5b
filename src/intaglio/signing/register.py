"""The register of signing identities."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Column, Connection, ForeignKey, Index, String, Table, and_, bindparam, func, select, update

from intaglio.database.schema import Instant, metadata
from intaglio.database.statement import Statement, storable
from intaglio.keys.custody import SealedKey
from intaglio.keys.register import end_earlier as end_keys_earlier
from intaglio.keys.register import sealed_key
from intaglio.revocation.register import State, certificates

identities = Table(
    "identities",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", String(32), ForeignKey("accounts.id"), nullable=False),
    Column("issuer", String(32), nullable=False),
    Column("serial", String(40), nullable=False),
    Column("algorithm", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Index("identities_by_account", "account_id", "not_after"),
)


class Identity(msgspec.Struct, frozen=True):
    """A signing identity; its key has the same id.

    Times are real, also where the account's clock is ahead: when it advances, `not_after` comes nearer.
    """

    id: str
    account_id: str
    issuer: str
    serial: str
    algorithm: str
    created_at: datetime
    not_after: datetime


_add = Statement(identities.insert(), Identity.__struct_fields__)


def add(connection: Connection, new: Sequence[Identity]) -> None:
    """Write new identities."""
    _add.run(connection, [msgspec.structs.asdict(identity) for identity in new])


def usable(
    connection: Connection, identity_id: str, account_id: str, now: datetime, revoked: Collection[str] = ()
) -> SealedKey | None:
    """Return the key of an account's identity if it may sign now, or None: unknown, foreign, over, revoked are one.

    Those of a CA that is in `revoked` are, too: what they signed now would never hold.
    """
    certificate = and_(certificates.c.issuer == identities.c.issuer, certificates.c.serial == identities.c.serial)
    found = connection.execute(
        select(identities.c.id)
        .join(certificates, certificate)
        .where(
            identities.c.id == storable(identity_id),
            identities.c.account_id == account_id,
            identities.c.not_after >= now,
            certificates.c.state == State.ISSUED,
            identities.c.issuer.not_in(list(revoked)),
        )
    ).one_or_none()
    return None if found is None else sealed_key(connection, identity_id)


_end_earlier = Statement(
    update(identities).where(identities.c.id == bindparam("one")).values(not_after=bindparam("end"))
)


def live(connection: Connection, account_id: str, now: datetime, most: int) -> list[tuple[str, datetime]]:
    """Return id and end of up to `most` of an account's identities that are not over."""
    query = (
        select(identities.c.id, identities.c.not_after)
        .where(identities.c.account_id == account_id, identities.c.not_after >= now)
        .limit(most)
    )
    return [(row.id, row.not_after) for row in connection.execute(query)]


def end_earlier(connection: Connection, ends: Sequence[tuple[str, datetime]]) -> None:
    """Have identities and their keys end at other times: the id of each, and when."""
    if ends:
        _end_earlier.run(connection, [{"one": identity_id, "end": end} for identity_id, end in ends])
        end_keys_earlier(connection, ends)


def find(connection: Connection, identity_id: str) -> Identity | None:
    """Return an identity, whoever's and however old."""
    row = connection.execute(select(identities).where(identities.c.id == identity_id)).one_or_none()
    return None if row is None else Identity(*row)


def latest_issuers(connection: Connection, account_id: str, now: datetime) -> list[str]:
    """Return the issuers of an account's identities that can still sign, that of the newest first."""
    newest = func.max(identities.c.created_at)
    rows = connection.execute(
        select(identities.c.issuer)
        .where(identities.c.account_id == account_id, identities.c.not_after >= now)
        .group_by(identities.c.issuer)
        .order_by(newest.desc())
    )
    return [row.issuer for row in rows]


def accounts_of(connection: Connection, identity_ids: Collection[str]) -> dict[str, str]:
    """Return the account of each identity."""
    rows = connection.execute(select(identities.c.id, identities.c.account_id).where(identities.c.id.in_(identity_ids)))
    return {row.id: row.account_id for row in rows}
