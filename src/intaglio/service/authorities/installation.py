"""Taking in the certificate for a key that was requested here."""

from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection

from intaglio.database.engine import transaction
from intaglio.errors import Conflict, ContentRefused
from intaglio.ledger.entry import Event
from intaglio.pki import conformity
from intaglio.pki.hierarchy import KeyPlace, Member, Roster, State
from intaglio.revocation import register
from intaglio.revocation.register import serial_text
from intaglio.service.authorities.membership import BENEATH, check_subject
from intaglio.service.authorities.responders import certify_responder, known_algorithm
from intaglio.service.home import Home
from intaglio.service.issuance import place
from intaglio.service.roster import changing, write


def install_authority(home: Home, name: str, issuer: str, certificate: x509.Certificate, now: datetime) -> None:
    """Take in the certificate that `issuer` signed for the key of `name`; a CA gets its OCSP responder with it.

    1. the certificate is held against the request, the issuer and the profile; 2. it is on record with its entry;
    3. it is in its place; 4. a CA certifies its responder; 5. both are members in use. Called again with the same
    certificate, it goes on. For a TSA or responder that was requested again, the new certificate takes the old one's
    place. The authority serves no hierarchy before `activate`.
    Raises `ContentRefused` naming what is wrong with the certificate, `Conflict`, `NotFound`, `KeyUnavailable`.
    """
    with changing(home.path) as roster:
        # 1
        held = roster.member(name)
        above = roster.member(issuer)
        member = msgspec.structs.replace(held, issuer=issuer, state=State.ACTIVE)
        if held.certified and home.certificate(name) == certificate and held.issuer == issuer:
            return
        _check_member(held, above)
        _check(home, roster, member, above, certificate, now)
        # 2
        with transaction(home.engine) as connection:
            if _record(connection, member, above, certificate):
                serial = serial_text(certificate.serial_number)
                details = {"member": name, "issuer": issuer, "subject": certificate.subject.rfc4514_string()}
                home.chain.append(connection, [Event(now, "authority.installed", reference=serial, details=details)])
        # 3
        place(home, name, certificate)
        changed = roster.with_member(known_algorithm(member, certificate))
        # 4
        if member.is_ca:
            changed = changed.with_member(certify_responder(home, changed.member(name), certificate, now))
        # 5
        write(home.path, changed)


def _check_member(held: Member, above: Member) -> None:
    if held.key != KeyPlace.HERE:
        raise Conflict(f"The key of {held.name} is not here.", {"name": f"its key is {held.key}"})
    if held.certified and (held.profile not in {"tsa", "ocsp"} or held.issuer != above.name):
        raise Conflict(f"{held.name} has its certificate.", {"name": f"is there: {held.profile}, {held.state}"})
    if held.profile not in BENEATH.get(above.profile, frozenset()) or not above.certified:
        raise ContentRefused(
            f"{above.name} signs no such certificate.",
            {"issuer": f"{held.profile} is not signed by the kind {above.profile}"},
        )
    if held.test != above.test:
        raise ContentRefused(
            f"{held.name} and {above.name} are of different hierarchies.", {"issuer": "of the other hierarchy"}
        )
    if held.profile == "ocsp" and held.name != above.responder:
        raise ContentRefused(f"{held.name} is not the responder of {above.name}.", {"issuer": "is another's"})


def _check(
    home: Home, roster: Roster, member: Member, above: Member, certificate: x509.Certificate, now: datetime
) -> None:
    if certificate.public_key() != home.keyring.key(member.name).public_key():
        raise ContentRefused(
            f"The certificate is for another key than that of {member.name}.", {"certificate": "another key"}
        )
    conformity.check(
        certificate,
        member.profile,
        issuer=home.certificate(above.name),
        issuer_name=above.name,
        places=home.places,
        test=member.test,
        now=now,
    )
    requested = roster.member(member.name)
    wanted = home.certificate(member.name).subject if requested.certified else home.subject(member.title)
    if certificate.subject != wanted:
        raise ContentRefused(
            "The certificate is for another subject than was requested.",
            {"subject": f"{certificate.subject.rfc4514_string()}, requested was {wanted.rfc4514_string()}"},
        )
    check_subject(home, roster, member, certificate.subject)


def _record(connection: Connection, member: Member, above: Member, certificate: x509.Certificate) -> bool:
    """Have the certificate in the register; return whether its installation is new.

    What a CA whose key is here signed is there already: if not, it is not of this home. What was signed elsewhere is
    entered, so that its status can be told.
    """
    serial = serial_text(certificate.serial_number)
    der = certificate.public_bytes(Encoding.DER)
    standing = register.find(connection, above.name, serial)
    if standing is None:
        if above.key == KeyPlace.HERE:
            raise ContentRefused(
                f"{above.name} has no record of this certificate.",
                {"certificate": f"serial number {serial} is unknown"},
            )
        register.adopt(connection, above.name, member.profile, certificate)
        return True
    if standing.state == register.State.REVOKED:
        raise Conflict("The certificate is revoked.", {"certificate": "is revoked"})
    if register.certificate_of(connection, above.name, serial) != der:
        raise ContentRefused(
            "Another certificate has this serial number.", {"certificate": f"serial number {serial} is another's"}
        )
    return above.key == KeyPlace.HERE
