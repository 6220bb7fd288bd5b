"""Which issuing CAs are accredited for qualified certificates, by which evidence, until when."""

from datetime import datetime

import msgspec
from sqlalchemy import Boolean, Column, Connection, String, Table, delete, select

from intaglio.database.engine import bump_revision
from intaglio.database.schema import Instant, metadata
from intaglio.errors import Conflict
from intaglio.pki.lint import Accreditation

accreditations = Table(
    "accreditations",
    metadata,
    Column("issuer", String(32), primary_key=True),
    Column("reference", String(256), nullable=False),
    Column("evidence_sha256", String(64), nullable=False),
    Column("device", Boolean, nullable=False),
    Column("until", Instant, nullable=False),
    Column("author", String(64), nullable=False),
    Column("recorded_at", Instant, nullable=False),
)


class Accredited(msgspec.Struct, frozen=True):
    """An issuing CA that is accredited until then, with keys in qualified devices or without.

    `reference` says what the evidence is, and `evidence_sha256` (hex) which file.
    """

    issuer: str
    reference: str
    evidence_sha256: str
    device: bool
    until: datetime
    author: str
    recorded_at: datetime

    def level(self, now: datetime) -> Accreditation:
        """Return what it is accredited for at a time."""
        if now > self.until:
            return Accreditation.NONE
        return Accreditation.QUALIFIED_DEVICE if self.device else Accreditation.QUALIFIED


def find(connection: Connection, issuer: str) -> Accredited | None:
    """Return what is recorded of a CA."""
    row = connection.execute(select(accreditations).where(accreditations.c.issuer == issuer)).one_or_none()
    return None if row is None else _accredited(row)


def every(connection: Connection) -> list[Accredited]:
    """Return what is recorded of all CAs."""
    rows = connection.execute(select(accreditations).order_by(accreditations.c.issuer))
    return [_accredited(row) for row in rows]


def record(connection: Connection, accredited: Accredited) -> None:
    """Record that a CA is accredited, in the place of what was recorded before."""
    connection.execute(delete(accreditations).where(accreditations.c.issuer == accredited.issuer))
    connection.execute(accreditations.insert(), msgspec.structs.asdict(accredited))
    bump_revision(connection)


def withdraw(connection: Connection, issuer: str) -> Accredited:
    """Forget that a CA is accredited; raises `Conflict` if it is not."""
    found = find(connection, issuer)
    if found is None:
        raise Conflict(f"{issuer} is not accredited.", {"issuer": "has no accreditation"})
    connection.execute(delete(accreditations).where(accreditations.c.issuer == issuer))
    bump_revision(connection)
    return found


def _accredited(row: object) -> Accredited:
    return Accredited(**{name: getattr(row, name) for name in Accredited.__struct_fields__})
