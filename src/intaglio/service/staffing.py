"""People come and go: the first two found the staff, every other is taken in by two who are there.

Their certificates are of a CA that signs nothing else. Nobody's private key is ever seen here.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection

from intaglio.accounts import register as accounts
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, ContentRefused, Malformed
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.ledger.entry import Event
from intaglio.revocation import register as certificates
from intaglio.service.authorities import create_root
from intaglio.service.home import Home
from intaglio.staff import register
from intaglio.staff.register import ISSUER, Person
from intaglio.staff.rights import Role
from intaglio.staff.signature import PersonKey, encoded, fingerprint, is_sound

LEAST_FOUNDERS = 2


class Enrolment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody to take in: `csr` in PEM, `account` for people of an account."""

    name: str
    roles: tuple[Role, ...]
    csr: str
    account: str | None = None


class Removal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody to take out, by id."""

    person: str


def read_key(csr: str) -> PersonKey:
    """Return the key of a PKCS#10 request that proves its possession; raises `Malformed` or `ContentRefused`."""
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key = request.public_key()
        holds = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("This is not a certificate signing request in PEM.", {"csr": str(error)}) from error
    if not holds:
        raise ContentRefused("The request is not signed by its own key.", {"csr": "bad signature"})
    if isinstance(key, ed25519.Ed25519PublicKey) and is_sound(key):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ContentRefused("Not a key for a person.", {"csr": "must be Ed25519 or P-256 (intaglio staff key makes one)"})


def found(home: Home, founders: Sequence[tuple[str, str]], now: datetime) -> list[Person]:
    """Take in the first security officers, names and CSRs (PEM) of at least two; later again only if none can act.

    1. names and keys are looked at; 2. the CA of people's certificates is there; 3. each has a certificate; 4. people,
    certificates and the entry are durable, all or none.
    Raises `ContentRefused`, `Conflict` when there is staff already.
    """
    # 1
    if len(founders) < LEAST_FOUNDERS:
        raise ContentRefused("One person is not enough.", {"person": f"at least {LEAST_FOUNDERS} are needed"})
    people = [
        (register.new_person(name, (Role.SECURITY_OFFICER,), None, now), read_key(csr), csr) for name, csr in founders
    ]
    if len({fingerprint(key) for _, key, _ in people}) != len(people):
        raise ContentRefused("Two people have one key.", {"csr": "each person has a key of their own"})
    with reading(home.engine) as connection:
        again = register.founded(connection)
        able = register.deciders(connection, Role.SECURITY_OFFICER, now)
        if able >= LEAST_FOUNDERS:
            raise Conflict("There is staff already.", {"person": "ask for it: intaglio staff enrol"})
        for person, key, _ in people:
            register.check_new(connection, person, key)
    # 2
    ensure_authority(home, now)
    # 3
    issued = [(person, key, _certify(home, person, key, now)) for person, key, _ in people]
    # 4
    with transaction(home.engine) as connection:
        told = []
        for person, key, certificate in issued:
            register.check_new(connection, person, key)
            _enter(connection, person, certificate)
            told.append(_told(person, key, certificate))
        kind = "staff.refounded" if again else "staff.founded"
        home.chain.append(connection, [Event(now, kind, details={"people": told})])
    return [person for person, _, _ in issued]


def ensure_authority(home: Home, now: datetime) -> None:
    """Have the CA of people's certificates in the hierarchy."""
    roster = home.roster()
    if roster.find(ISSUER) is not None and roster.member(ISSUER).certified:
        return
    client = roster.find("client")
    algorithm = (client.algorithm if client is not None else None) or KeyAlgorithm.P_256
    create_root(home, ISSUER, title="Staff Authentication CA", algorithm=algorithm, profile="client-ca", now=now)


def look_at_enrolment(home: Home, connection: Connection, asked: Enrolment, now: datetime) -> Any:
    """Return what would be there of a person; raises `ContentRefused`, `Conflict`, `NotFound`."""
    key = read_key(asked.csr)
    person = register.new_person(asked.name, asked.roles, asked.account, now)
    register.check_new(connection, person, key)
    account = None if asked.account is None else accounts.find(connection, asked.account)
    home.roster().member(ISSUER)
    return {
        "name": person.name,
        "roles": list(person.roles),
        "account": None if account is None else {"id": account.id, "name": account.name},
        "key_sha256": fingerprint(key),
    }


def enrol(home: Home, asked: Enrolment, now: datetime) -> Any:
    """Take somebody in: 1. a certificate is issued; 2. person, certificate and entry are durable together."""
    key = read_key(asked.csr)
    person = register.new_person(asked.name, asked.roles, asked.account, now)
    with reading(home.engine) as connection:
        register.check_new(connection, person, key)
    # 1
    certificate = _certify(home, person, key, now)
    # 2
    with transaction(home.engine) as connection:
        register.check_new(connection, person, key)
        _enter(connection, person, certificate)
        told = _told(person, key, certificate)
        event = Event(now, "staff.enrolled", person.account_id, person.id, None, told)
        home.chain.append(connection, [event])
    return {"person": person.id, "name": person.name, "not_after": certificate.not_valid_after_utc}


def look_at_removal(connection: Connection, asked: Removal, now: datetime) -> tuple[Any, Any]:
    """Return a person before and after; raises `NotFound`, or `Conflict` where too few would be left to decide."""
    person = register.find(connection, asked.person)
    left = register.deciders(connection, Role.SECURITY_OFFICER, now, without=person.id)
    if Role.SECURITY_OFFICER in person.roles and left < LEAST_FOUNDERS:
        raise Conflict(
            "Fewer than two security officers would be left.", {"person": "take another security officer in first"}
        )
    before = {
        "person": person.id,
        "name": person.name,
        "roles": list(person.roles),
        "account": person.account_id,
        "state": str(person.state),
    }
    return before, {**before, "state": str(register.State.REMOVED)}


def remove(home: Home, connection: Connection, asked: Removal, now: datetime) -> Any:
    """Take somebody out, and revoke the certificates; raises `Conflict`, `NotFound`."""
    look_at_removal(connection, asked, now)
    person = register.remove(connection, asked.person)
    events = [
        Event(now, "staff.removed", person.account_id, person.id, None, {"person": person.id, "name": person.name})
    ]
    for certificate in register.certificates_of(connection, person.id):
        serial = certificates.serial_text(certificate.serial_number)
        standing = certificates.find(connection, ISSUER, serial)
        if standing is not None and standing.state == certificates.State.ISSUED:
            certificates.revoke(connection, ISSUER, serial, "cessationOfOperation", now)
            details = {"issuer": ISSUER, "serial": serial, "reason": "cessationOfOperation"}
            events.append(Event(now, "certificate.revoked", None, serial, None, details))
    home.chain.append(connection, events)
    return {"person": person.id, "name": person.name, "state": person.state}


def renew(home: Home, person: Person, key: PersonKey, now: datetime) -> x509.Certificate:
    """Issue a person's next certificate for the same key, on the strength of the one that is still valid."""
    certificate = _certify(home, person, key, now)
    with transaction(home.engine) as connection:
        certificates.issued(connection, ISSUER, certificate)
        register.certify(connection, person.id, certificate)
        told = _told(person, key, certificate)
        home.chain.append(connection, [Event(now, "staff.renewed", person.account_id, person.id, None, told)])
    return certificate


def _certify(home: Home, person: Person, key: PersonKey, now: datetime) -> x509.Certificate:
    issuer = home.issuer(ISSUER)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, home.settings.name),
            x509.NameAttribute(NameOID.COMMON_NAME, person.name),
        ]
    )
    prepared = issuer.prepare("staff", subject=subject, public_key=encoded(key), now=now)
    with transaction(home.engine) as connection:
        certificates.plan(connection, prepared, person.account_id)
    return issuer.issue(prepared)


def _enter(connection: Connection, person: Person, certificate: x509.Certificate) -> None:
    certificates.issued(connection, ISSUER, certificate)
    register.add(connection, person)
    register.certify(connection, person.id, certificate)


def _told(person: Person, key: PersonKey, certificate: x509.Certificate) -> dict[str, Any]:
    """Return what an entry says of a person: enough to check every signature of theirs without the database."""
    return {
        "person": person.id,
        "name": person.name,
        "roles": list(person.roles),
        "account": person.account_id,
        "certificate": certificates.serial_text(certificate.serial_number),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "key": base64.b64encode(encoded(key)).decode("ascii"),
    }
