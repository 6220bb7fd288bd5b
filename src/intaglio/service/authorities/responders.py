"""The OCSP responder of a CA whose key is here: made with it, without anybody asking."""

from datetime import datetime

import msgspec
from cryptography import x509

from intaglio.database.engine import reading
from intaglio.errors import ContentRefused
from intaglio.keys.algorithm import PublicKey, algorithm_of
from intaglio.pki.founding import responder_algorithm
from intaglio.pki.hierarchy import Member, State
from intaglio.pki.issuer import Issuer
from intaglio.revocation import register
from intaglio.service.authorities.membership import kept_key
from intaglio.service.home import Home
from intaglio.service.issuance import issue, place


def responder_of(ca: Member) -> Member:
    """Return the member that answers for `ca`, asked for."""
    algorithm = None if ca.algorithm is None else responder_algorithm(ca.algorithm)
    return Member(
        ca.responder, ca.name, "ocsp", f"{ca.title} OCSP Responder", ca.test, state=State.REQUESTED, algorithm=algorithm
    )


def certify_responder(home: Home, ca: Member, certificate: x509.Certificate, now: datetime) -> Member:
    """Make key and certificate of the responder of `ca`, or what is left of it to make; return the member, active."""
    wanted = responder_of(ca)
    key = kept_key(home, wanted)
    public = key.public_key()
    found = certified(home, ca.name, "ocsp", public)
    if found is None:
        issuer = Issuer(ca.name, certificate, home.keyring.key(ca.name), home.places, test=ca.test)
        name = home.subject(wanted.title)
        prepared = issuer.prepare("ocsp", subject=name, public_key=public, now=now)
        found = issue(home, issuer, prepared, now, {"member": wanted.name})
    place(home, wanted.name, found)
    return msgspec.structs.replace(wanted, state=State.ACTIVE)


def certified(home: Home, issuer: str, profile: str, key: PublicKey) -> x509.Certificate | None:
    """Return the newest certificate, not revoked, that `issuer` gave to `key`: the work of an interrupted call."""
    with reading(home.engine) as connection:
        ders = register.issued_as(connection, issuer, profile)
    for certificate in map(x509.load_der_x509_certificate, ders):
        if certificate.public_key() == key:
            return certificate
    return None


def known_algorithm(ca: Member, certificate: x509.Certificate) -> Member:
    """Return `ca` with its kind of key on record; raises `ContentRefused` for one that is not made here."""
    try:
        return msgspec.structs.replace(ca, algorithm=algorithm_of(certificate.public_key()))  # type: ignore[arg-type]
    except ValueError as error:
        raise ContentRefused("The key is of no kind that is used here.", {"certificate": str(error)}) from error
