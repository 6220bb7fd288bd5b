"""Roots: made here, or with their keys elsewhere."""

from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from intaglio.database.engine import transaction
from intaglio.errors import Conflict
from intaglio.ledger.entry import Event
from intaglio.pki import conformity
from intaglio.pki.hierarchy import KeyPlace, Member, State
from intaglio.pki.issuer import Issuer
from intaglio.revocation.register import serial_text
from intaglio.service.authorities.membership import algorithm as algorithm_called
from intaglio.service.authorities.membership import check_names, check_subject, enter, kept_key, same
from intaglio.service.authorities.responders import certified, certify_responder
from intaglio.service.home import Home
from intaglio.service.issuance import issue, place
from intaglio.service.roster import changing, write


def create_root(
    home: Home, name: str, *, title: str, algorithm: str, test: bool = False, profile: str = "root", now: datetime
) -> x509.Certificate:
    """Make a key, a CA that signs itself, and its OCSP responder; return the CA's certificate.

    `profile` is `root`, or that of a CA that signs end certificates and stands alone.

    1. that it is asked for is durable; 2. its key is made; 3. it certifies itself, the intention durable before;
    4. so it does with its responder; 5. both are members. Called again, it goes on with what is missing.
    Raises `ContentRefused` (name, title, algorithm), `Conflict` (name or title taken), `KeyUnavailable`.
    """
    wanted = Member(name, None, profile, title, test, algorithm=algorithm_called(algorithm))
    with changing(home.path) as found:
        # 1
        roster = enter(home, found, wanted)
        if roster.member(name).certified:
            return home.certificate(name)
        # 2
        key = kept_key(home, wanted)
        # 3
        certificate = certified(home, name, profile, key.public_key())
        if certificate is None:
            who = home.subject(title)
            issuer = Issuer(name, None, key, home.places, subject=who, test=test)
            prepared = issuer.prepare(profile, subject=who, public_key=key.public_key(), now=now)
            certificate = issue(home, issuer, prepared, now, {"member": name})
        place(home, name, certificate)
        # 4
        responder = certify_responder(home, wanted, certificate, now)
        # 5
        write(home.path, roster.with_member(wanted).with_member(responder))
    return certificate


def install_root(home: Home, name: str, certificate: x509.Certificate, now: datetime, *, test: bool = False) -> None:
    """Take in a root whose key is elsewhere.

    It needs, next, a responder here (`request_authority(home, "<name>-ocsp", profile="ocsp", …)`, signed there) and
    its CRL (`import_list`). The root must have the same name at both homes: it is part of the URLs in what it signs.
    1. the certificate is looked at; 2. the entry is durable; 3. certificate and member are. Called again with the same
    certificate, it goes on.
    Raises `ContentRefused` naming what is wrong with the certificate, `WeakKey`, `Conflict` (name or subject taken).
    """
    # 1
    conformity.check_root(certificate, test=test, now=now)
    wanted = Member(name, None, "root", _title(home, certificate), test, KeyPlace.ELSEWHERE)
    with changing(home.path) as roster:
        held = roster.find(name)
        if held is not None:
            if same(held, wanted) and home.certificate(name) == certificate:
                return
            raise Conflict(f"The name {name} is taken.", {"name": f"{name} is there: {held.profile}, {held.state}"})
        check_names(roster, home.settings.name, msgspec.structs.replace(wanted, title="TEST" if test else "Root"))
        check_subject(home, roster, wanted, certificate.subject)
        # 2
        serial = serial_text(certificate.serial_number)
        details = {"member": name, "subject": certificate.subject.rfc4514_string(), "key": wanted.key}
        with transaction(home.engine) as connection:
            home.chain.append(connection, [Event(now, "authority.installed", reference=serial, details=details)])
        # 3
        place(home, name, certificate)
        write(home.path, roster.with_member(msgspec.structs.replace(wanted, state=State.ACTIVE)))


def _title(home: Home, certificate: x509.Certificate) -> str:
    """Return what a root is called: its common name, less the organisation's."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    full = str(names[0].value) if names else certificate.subject.rfc4514_string()
    return full.removeprefix(f"{home.settings.name} ")
