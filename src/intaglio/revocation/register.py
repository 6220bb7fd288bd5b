"""The register of certificates: planned before they are signed, issued, and perhaps revoked."""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    bindparam,
    delete,
    desc,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from intaglio.database.engine import bump_revision
from intaglio.database.schema import Instant, metadata, moment
from intaglio.database.statement import Statement
from intaglio.errors import Conflict, Malformed, NotFound, StoreUnavailable
from intaglio.pki.issuer import Prepared
from intaglio.revocation import archive

# CRLReason, RFC 5280 §5.3.1: what a certificate can be revoked for, for good
REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}


# What stands in place of the profile of a certificate of which nothing but its serial number is kept.
ARCHIVED = "archived"


class State(StrEnum):
    """Where a certificate is in its life."""

    PLANNED = "planned"
    ISSUED = "issued"
    REVOKED = "revoked"


certificates = Table(
    "certificates",
    metadata,
    # The unique key is what keeps two nodes from signing the same serial number.
    Column("issuer", String(32), primary_key=True),
    Column("serial", String(40), primary_key=True),
    Column("profile", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("subject", Text, nullable=False),
    Column("not_before", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("account_id", String(32)),
    Column("der", LargeBinary),
    Column("revoked_at", Instant),
    Column("reason", String(32)),
    Index("certificates_revoked", "issuer", "revoked_at"),
)

revocation_lists = Table(
    "revocation_lists",
    metadata,
    Column("issuer", String(32), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("this_update", Instant, nullable=False),
    Column("next_update", Instant, nullable=False),
    Column("der", LargeBinary, nullable=False),
)


class Standing(msgspec.Struct, frozen=True):
    """What the register knows of one certificate; `serial` is lower-case hex without leading zeros."""

    issuer: str
    serial: str
    profile: str
    state: State
    subject: str
    not_before: datetime
    not_after: datetime
    account_id: str | None = None
    revoked_at: datetime | None = None
    reason: str | None = None


class RevocationList(msgspec.Struct, frozen=True):
    """A CRL as published."""

    issuer: str
    number: int
    this_update: datetime
    next_update: datetime
    der: bytes


def serial_text(serial: int) -> str:
    """Return a serial number as the register writes it."""
    return f"{serial:x}"


_columns = ("issuer", "serial", "profile", "state", "subject", "not_before", "not_after", "account_id")
_plan = Statement(certificates.insert(), _columns)
_planned = update(certificates).where(
    certificates.c.issuer == bindparam("of"),
    certificates.c.serial == bindparam("number"),
    certificates.c.state == State.PLANNED,
)
_issued = Statement(_planned.values(state=State.ISSUED, der=bindparam("signed")))
_issued_for = Statement(
    _planned.values(
        state=State.ISSUED,
        profile=bindparam("kind"),
        subject=bindparam("named"),
        not_before=bindparam("begin"),
        not_after=bindparam("end"),
        account_id=bindparam("account"),
        der=bindparam("signed"),
    )
)


_find = Statement(
    select(*(certificates.c[name] for name in Standing.__struct_fields__)).where(
        certificates.c.issuer == bindparam("of"), certificates.c.serial == bindparam("number")
    )
)


def plan(connection: Connection, prepared: Prepared, account_id: str | None) -> None:
    """Make the intention to sign durable; raises `StoreUnavailable` if the serial was ever drawn before."""
    subject = prepared.subject.text
    times = (prepared.not_before, prepared.not_after)
    _plan_all(connection, [(prepared.issuer, prepared.serial, prepared.profile, subject, *times, account_id)])


def reserve(connection: Connection, issuer: str, serials: Sequence[int], now: datetime) -> None:
    """Have serial numbers on record before it is known what for; raises `StoreUnavailable` if one was drawn before."""
    _plan_all(connection, [(issuer, serial, "", "", now, now, None) for serial in serials])


def _plan_all(
    connection: Connection, wanted: Sequence[tuple[str, int, str, str, datetime, datetime, str | None]]
) -> None:
    rows = [
        dict(zip(_columns, (issuer, serial_text(serial), profile, State.PLANNED, *rest), strict=True))
        for issuer, serial, profile, *rest in wanted
    ]
    if archive.among(connection, wanted[0][0], [serial_text(serial) for _, serial, *_ in wanted]) is not None:
        raise StoreUnavailable(f"a serial number of {wanted[0][0]} was drawn long before")
    try:
        _plan.run(connection, rows)
    except IntegrityError as error:
        raise StoreUnavailable(f"a serial number of {rows[0]['issuer']} was drawn before") from error


def issued(connection: Connection, issuer: str, certificate: x509.Certificate) -> None:
    """Record that a planned certificate was signed."""
    serial, der = serial_text(certificate.serial_number), certificate.public_bytes(Encoding.DER)
    _check(_issued.run(connection, [{"of": issuer, "number": serial, "signed": der}]).rowcount, 1, issuer)


class Issued(msgspec.Struct, frozen=True):
    """A certificate (DER) that was signed for an account with a serial number reserved before; `subject` as text."""

    prepared: Prepared
    subject: str
    account_id: str
    der: bytes


def issued_all(connection: Connection, signed: Sequence[Issued]) -> None:
    """Record what was signed with reserved serial numbers."""
    rows = [
        {
            "of": one.prepared.issuer,
            "number": serial_text(one.prepared.serial),
            "kind": one.prepared.profile,
            "named": one.subject,
            "begin": one.prepared.not_before,
            "end": one.prepared.not_after,
            "account": one.account_id,
            "signed": one.der,
        }
        for one in signed
    ]
    _check(_issued_for.run(connection, rows).rowcount, len(rows), rows[0]["of"])


def _check(found: int, expected: int, issuer: object) -> None:
    if found != expected:
        raise StoreUnavailable(f"{issuer} signed a certificate that was never planned")


def find(connection: Connection, issuer: str, serial: str) -> Standing | None:
    """Return what is known of a serial number, or None when it was never drawn.

    Of one that is archived it is its state, and about when; its `profile` is `ARCHIVED` then.
    """
    row: Any = _find.run(connection, [{"of": issuer, "number": serial}]).one_or_none()
    if row is not None:
        _, _, profile, known, subject, begin, end, account_id, revoked_at, reason = row
        since = None if revoked_at is None else moment(revoked_at)
        times = (moment(begin), moment(end))
        return Standing(issuer, serial, profile, State(known), subject, *times, account_id, since, reason)
    kept = archive.find(connection, issuer, serial)
    if kept is None:
        return None
    state = State.PLANNED if kept.planned else State.ISSUED
    return Standing(issuer, serial, ARCHIVED, state, "", kept.begins, kept.ends)


def revoke(connection: Connection, issuer: str, serial: str, reason: str, now: datetime) -> Standing:
    """Revoke for good; raises `Malformed` for an unknown reason, `NotFound`, or `Conflict` when done already."""
    if reason not in REASONS:
        raise Malformed("The reason is unknown.", {"reason": f"one of {', '.join(REASONS)}"})
    standing = find(connection, issuer, serial)
    if standing is None or standing.state == State.PLANNED:
        raise NotFound("No such certificate.", {"serial": "not issued here"})
    if standing.state == State.REVOKED:
        raise Conflict("The certificate is revoked already.", {"serial": "revoked already"})
    if standing.profile == ARCHIVED:
        archive.take(connection, issuer, serial)
        connection.execute(certificates.insert(), {name: getattr(standing, name) for name in _columns})
    done = connection.execute(
        update(certificates)
        .where(certificates.c.issuer == issuer, certificates.c.serial == serial)
        .values(state=State.REVOKED, revoked_at=now.replace(microsecond=0), reason=reason)
    )
    if done.rowcount != 1:
        raise StoreUnavailable(f"{issuer}/{serial} was archived while it was revoked")
    bump_revision(connection)
    found = find(connection, issuer, serial)
    if found is None:
        raise StoreUnavailable(f"{issuer}/{serial} vanished while it was revoked")
    return found


def issued_since(connection: Connection, issuer: str, since: datetime) -> list[bytes]:
    """Return every certificate (DER) that an issuer signed and whose time began at `since` or later."""
    rows = connection.execute(
        select(certificates.c.der)
        .where(certificates.c.issuer == issuer, certificates.c.not_before >= since, certificates.c.der.is_not(None))
        .order_by(certificates.c.not_before)
    )
    return [bytes(row.der) for row in rows]


def newest(connection: Connection, issuer: str, most: int) -> list[tuple[Standing, bytes]]:
    """Return the certificates that an issuer signed last, with their DER, newest first."""
    # Serial numbers begin with the time: this reads the end of the primary key, and no more.
    rows = connection.execute(
        select(certificates)
        .where(certificates.c.issuer == issuer, certificates.c.der.is_not(None))
        .order_by(desc(certificates.c.serial))
        .limit(most)
    )
    return [(_standing(row), bytes(row.der)) for row in rows]


def issued_as(connection: Connection, issuer: str, profile: str) -> list[bytes]:
    """Return the certificates (DER) of one kind that an issuer signed and that are not revoked, newest first."""
    rows = connection.execute(
        select(certificates.c.der)
        .where(
            certificates.c.issuer == issuer,
            certificates.c.profile == profile,
            certificates.c.state == State.ISSUED,
            certificates.c.der.is_not(None),
        )
        .order_by(desc(certificates.c.not_before))
    )
    return [bytes(row.der) for row in rows]


def certificate_of(connection: Connection, issuer: str, serial: str) -> bytes | None:
    """Return a certificate as it was signed, DER."""
    row = connection.execute(
        select(certificates.c.der).where(certificates.c.issuer == issuer, certificates.c.serial == serial)
    ).one_or_none()
    return None if row is None or row.der is None else bytes(row.der)


def adopt(connection: Connection, issuer: str, profile: str, certificate: x509.Certificate) -> None:
    """Enter a certificate that was signed where the issuer's key is, so that its status can be told here."""
    row = {
        "issuer": issuer,
        "serial": serial_text(certificate.serial_number),
        "profile": profile,
        "state": State.ISSUED,
        "subject": certificate.subject.rfc4514_string(),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "der": certificate.public_bytes(Encoding.DER),
    }
    connection.execute(certificates.insert(), row)


def adopt_revoked(connection: Connection, issuer: str, serial: str, since: datetime, until: datetime) -> None:
    """Enter a certificate of which nothing is known but that a list has its number; it is to be revoked next."""
    row = {
        "issuer": issuer,
        "serial": serial,
        "profile": "unknown",
        "state": State.ISSUED,
        "subject": "",
        "not_before": since,
        "not_after": until,
    }
    connection.execute(certificates.insert(), row)


def revoked_serials(connection: Connection, among: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return which certificates, by issuer and serial number, are revoked."""
    if not among:
        return set()
    wanted = tuple_(certificates.c.issuer, certificates.c.serial).in_(list(among))
    rows = connection.execute(
        select(certificates.c.issuer, certificates.c.serial).where(wanted, certificates.c.state == State.REVOKED)
    )
    return {(row.issuer, row.serial) for row in rows}


def revoked(connection: Connection, issuer: str) -> list[Standing]:
    """Return every revoked certificate of an issuer, oldest revocation first."""
    rows = connection.execute(
        select(certificates)
        .where(certificates.c.issuer == issuer, certificates.c.state == State.REVOKED)
        .order_by(certificates.c.revoked_at)
    )
    return [_standing(row) for row in rows]


def current_list(connection: Connection, issuer: str, now: datetime) -> RevocationList | None:
    """Return the CRL in force, or None when a new one is due: none yet, half its time gone, or revoked since."""
    found = latest_list(connection, issuer)
    if found is None or now >= found.this_update + (found.next_update - found.this_update) / 2:
        return None
    last = connection.execute(
        select(func.max(certificates.c.revoked_at)).where(certificates.c.issuer == issuer)
    ).scalar_one()
    # Both are whole seconds: what was revoked in the second of the list may have come after it.
    return None if last is not None and last >= found.this_update else found


def latest_list(connection: Connection, issuer: str) -> RevocationList | None:
    """Return the CRL with the highest number."""
    row = connection.execute(
        select(revocation_lists)
        .where(revocation_lists.c.issuer == issuer)
        .order_by(desc(revocation_lists.c.number))
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    return RevocationList(row.issuer, row.number, row.this_update, row.next_update, bytes(row.der))


def list_times(connection: Connection) -> list[tuple[str, datetime, datetime]]:
    """Return issuer, thisUpdate and nextUpdate of each CRL that was published last."""
    columns = revocation_lists.c
    latest = select(columns.issuer, func.max(columns.number)).group_by(columns.issuer)
    rows = connection.execute(
        select(columns.issuer, columns.this_update, columns.next_update).where(
            tuple_(columns.issuer, columns.number).in_(latest)
        )
    )
    return [(row.issuer, row.this_update, row.next_update) for row in rows]


def forget_lists(connection: Connection, issuers: Collection[str]) -> None:
    """Forget the CRLs of issuers that can make new ones, as they do as soon as there is none."""
    connection.execute(delete(revocation_lists).where(revocation_lists.c.issuer.in_(issuers)))


def publish_list(connection: Connection, entry: RevocationList) -> None:
    """Store a new CRL."""
    connection.execute(revocation_lists.insert(), msgspec.structs.asdict(entry))


def _standing(row: object) -> Standing:
    fields = {name: getattr(row, name) for name in Standing.__struct_fields__}
    fields["state"] = State(fields["state"])
    return Standing(**fields)
