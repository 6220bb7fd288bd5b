"""The register of people: who they are, what they are there for, and by which keys they are known."""

import re
import secrets
import unicodedata
from datetime import datetime
from enum import StrEnum

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Column, Connection, ForeignKey, LargeBinary, String, Table, desc, select, update

from intaglio.database.schema import Instant, metadata
from intaglio.errors import Conflict, ContentRefused, NotFound, Unauthenticated
from intaglio.pki import text
from intaglio.revocation import register as certificates
from intaglio.revocation.register import serial_text
from intaglio.staff.rights import OF_AN_ACCOUNT, Role
from intaglio.staff.signature import PersonKey, encoded, fingerprint

# The CA of people's certificates, as the hierarchy calls it.
ISSUER = "officers"
_MOST_NAME = 64
_BLANKS = re.compile(r"\s+")
_ID = re.compile(r"\A[0-9a-f]{32}\Z")


class State(StrEnum):
    """Whether a person may act."""

    ACTIVE = "active"
    REMOVED = "removed"


staff = Table(
    "staff",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(_MOST_NAME), nullable=False),
    # Nobody is there twice, however the name is written.
    Column("folded_name", String(4 * _MOST_NAME), nullable=False, unique=True),
    Column("roles", String(128), nullable=False),
    Column("account_id", String(32), ForeignKey("accounts.id")),
    Column("state", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
)

staff_certificates = Table(
    "staff_certificates",
    metadata,
    Column("serial", String(40), primary_key=True),
    Column("person_id", String(32), ForeignKey("staff.id"), nullable=False, index=True),
    # SHA-256 over the SubjectPublicKeyInfo, hex
    Column("key_sha256", String(64), nullable=False, index=True),
    Column("not_before", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("der", LargeBinary, nullable=False),
)


class Person(msgspec.Struct, frozen=True):
    """Somebody who runs the service, or one account of it."""

    id: str
    name: str
    roles: tuple[Role, ...]
    account_id: str | None
    state: State
    created_at: datetime


class Known(msgspec.Struct, frozen=True):
    """A person who has shown a key, and the serial number (hex) of the certificate that says whose it is."""

    person: Person
    certificate: str


def new_person(name: str, roles: tuple[Role, ...], account_id: str | None, now: datetime) -> Person:
    """Return a person yet to be added; raises `ContentRefused` naming what cannot be."""
    faults = {}
    fault = text.fault_of_text(name, _MOST_NAME) or text.fault_of_mixture(name)
    if _ID.match(name):
        fault = "looks like an id"
    if fault is not None:
        faults["name"] = fault
    if not roles or len(set(roles)) != len(roles):
        faults["role"] = "at least one, each once"
    inside, outside = OF_AN_ACCOUNT.intersection(roles), set(roles) - OF_AN_ACCOUNT
    if inside and (outside or account_id is None):
        faults["account"] = f"{' and '.join(sorted(inside))} is a role in one account, and there alone"
    if not inside and account_id is not None:
        faults["account"] = f"only {' or '.join(sorted(OF_AN_ACCOUNT))} is of an account"
    if Role.AUDITOR in roles and len(roles) > 1:
        faults["role"] = "who audits does nothing else"
    if faults:
        raise ContentRefused("The person cannot be taken in.", faults)
    return Person(secrets.token_hex(16), name, tuple(sorted(roles)), account_id, State.ACTIVE, now)


def check_new(connection: Connection, person: Person, key: PersonKey) -> None:
    """Raise `Conflict` when the name or the key is that of somebody who is, or was, there."""
    taken = connection.execute(select(staff.c.id).where(staff.c.folded_name == _folded(person.name))).first()
    if taken is not None:
        raise Conflict(f"{person.name} is there already.", {"name": "is there already"})
    _check_key(connection, person.id, key)


def _check_key(connection: Connection, person_id: str, key: PersonKey) -> None:
    other = connection.execute(
        select(staff.c.name)
        .join(staff_certificates, staff_certificates.c.person_id == staff.c.id)
        .where(staff_certificates.c.key_sha256 == fingerprint(key), staff.c.id != person_id)
    ).first()
    if other is not None:
        raise Conflict(f"The key is that of {other.name}.", {"csr": "somebody else's key: two people have two keys"})


def _folded(name: str) -> str:
    return _BLANKS.sub(" ", unicodedata.normalize("NFKC", name)).casefold()


def add(connection: Connection, person: Person) -> None:
    """Enter a person who was checked."""
    row = msgspec.structs.asdict(person) | {"roles": " ".join(person.roles), "folded_name": _folded(person.name)}
    connection.execute(staff.insert(), row)


def certify(connection: Connection, person_id: str, certificate: x509.Certificate) -> str:
    """Bind a certificate to a person and return its serial number, hex; raises `Conflict` for somebody else's key."""
    key: PersonKey = certificate.public_key()  # type: ignore[assignment]
    _check_key(connection, person_id, key)
    serial = serial_text(certificate.serial_number)
    connection.execute(
        staff_certificates.insert(),
        {
            "serial": serial,
            "person_id": person_id,
            "key_sha256": fingerprint(key),
            "not_before": certificate.not_valid_before_utc,
            "not_after": certificate.not_valid_after_utc,
            "der": certificate.public_bytes(Encoding.DER),
        },
    )
    return serial


def remove(connection: Connection, person_id: str) -> Person:
    """Take a person's rights away; raises `NotFound`, `Conflict`."""
    person = find(connection, person_id)
    if person.state == State.REMOVED:
        raise Conflict(f"{person.name} is removed already.", {"person": "removed already"})
    connection.execute(update(staff).where(staff.c.id == person_id).values(state=State.REMOVED))
    return msgspec.structs.replace(person, state=State.REMOVED)


def find(connection: Connection, person_id: str) -> Person:
    """Return a person; raises `NotFound`."""
    row = connection.execute(select(staff).where(staff.c.id == person_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such person.", {"person": "not found: intaglio staff list"})
    return _person(row)


def named(connection: Connection, name: str) -> Person:
    """Return a person by name, or id; raises `NotFound`."""
    row = connection.execute(select(staff).where(staff.c.folded_name == _folded(name))).one_or_none()
    return find(connection, name) if row is None else _person(row)


def founded(connection: Connection) -> bool:
    """Return whether there is, or was, anybody."""
    return connection.execute(select(staff.c.id).limit(1)).first() is not None


def every(connection: Connection) -> list[Person]:
    """Return everybody who is or was there, in the order in which they came."""
    return [_person(row) for row in connection.execute(select(staff).order_by(staff.c.created_at, staff.c.name))]


def certificates_of(connection: Connection, person_id: str) -> list[x509.Certificate]:
    """Return a person's certificates, oldest first."""
    query = (
        select(staff_certificates.c.der)
        .where(staff_certificates.c.person_id == person_id)
        .order_by(staff_certificates.c.not_before)
    )
    return [x509.load_der_x509_certificate(der) for (der,) in connection.execute(query)]


def identify(connection: Connection, key: PersonKey, now: datetime) -> Known:
    """Return who holds `key`, by a certificate that is valid now; raises `Unauthenticated`."""
    query = (
        select(staff_certificates.c.serial, staff_certificates.c.der, staff_certificates.c.person_id)
        .where(
            staff_certificates.c.key_sha256 == fingerprint(key),
            staff_certificates.c.not_before <= now,
            staff_certificates.c.not_after >= now,
        )
        .order_by(desc(staff_certificates.c.not_after))
    )
    for serial, der, person_id in connection.execute(query):
        person = find(connection, person_id)
        if person.state != State.ACTIVE:
            raise Unauthenticated(f"{person.name} is removed.", {"key": "its owner is removed"})
        standing = certificates.find(connection, ISSUER, serial)
        issued = standing is not None and standing.state == certificates.State.ISSUED
        if issued and encoded(x509.load_der_x509_certificate(der).public_key()) == encoded(key):  # type: ignore[arg-type]
            return Known(person, serial)
    raise Unauthenticated(
        "Nobody with a valid certificate has this key.", {"key": "unknown, revoked, or its certificate has ended"}
    )


def deciders(connection: Connection, role: Role, now: datetime, *, without: str | None = None) -> int:
    """Return how many people, `without` one of them, can act in `role` now."""
    able = 0
    for person in every(connection):
        if person.state != State.ACTIVE or role not in person.roles or person.id == without:
            continue
        for certificate in certificates_of(connection, person.id):
            standing = certificates.find(connection, ISSUER, serial_text(certificate.serial_number))
            if certificate.not_valid_after_utc >= now and standing and standing.state == certificates.State.ISSUED:
                able += 1
                break
    return able


def _person(row: object) -> Person:
    fields = {name: getattr(row, name) for name in Person.__struct_fields__}
    fields["roles"] = tuple(map(Role, fields["roles"].split()))
    fields["state"] = State(fields["state"])
    return Person(**fields)
