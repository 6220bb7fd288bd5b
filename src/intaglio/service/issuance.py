"""Certificates of the service itself: the intention durable, then signed, then on record, then in their place."""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.database.engine import transaction
from intaglio.ledger.entry import Event
from intaglio.pki.issuer import Issuer, Prepared
from intaglio.revocation import register
from intaglio.service.home import Home, certificate_path
from intaglio.service.roster import replace


def issue(home: Home, issuer: Issuer, prepared: Prepared, now: datetime, details: dict[str, str]) -> x509.Certificate:
    """Sign what was prepared; its intention and its outcome are durable, the second with an entry."""
    with transaction(home.engine) as connection:
        register.plan(connection, prepared, None)
    certificate = issuer.issue(prepared)
    with transaction(home.engine) as connection:
        register.issued(connection, issuer.name, certificate)
        serial = register.serial_text(certificate.serial_number)
        told = {"issuer": issuer.name, **details}
        home.chain.append(connection, [Event(now, "certificate.issued", reference=serial, details=told)])
    return certificate


def place(home: Home, member: str, certificate: x509.Certificate) -> None:
    """Put a member's certificate where it is read, in the place of the one before."""
    replace(certificate_path(home.path, member), certificate.public_bytes(Encoding.PEM))
