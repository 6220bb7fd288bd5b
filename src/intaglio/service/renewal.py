"""Renewing the service's own end certificates: the API's, the OCSP responders', the time-stamping authorities'."""

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.database.engine import transaction
from intaglio.errors import ContentRefused
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import AUTHORITIES, MEMBERS, host_names
from intaglio.pki.issuer import Extensions
from intaglio.revocation import register
from intaglio.service.home import Home, certificate_path

RENEWABLE = tuple(member.name for member in MEMBERS if member.name not in AUTHORITIES)


def renew(home: Home, name: str, now: datetime) -> x509.Certificate:
    """Issue a new certificate for the key of `name`, in force when the service starts next.

    The API's takes its hosts from the settings as they are now. Raises `ContentRefused` for anything but an end
    certificate of the service: a CA is not renewed by one person at a terminal.
    """
    member = next((one for one in MEMBERS if one.name == name and name in RENEWABLE), None)
    if member is None or member.issuer is None:
        raise ContentRefused("This cannot be renewed here.", {"name": f"one of {', '.join(RENEWABLE)}"})
    issuer = home.issuer(member.issuer)
    extensions: Extensions = [(host_names(home.settings.hosts), False)] if member.profile == "server" else []
    prepared = issuer.prepare(
        member.profile,
        subject=home.certificate(name).subject,
        public_key=home.keyring.key(name).public_key(),
        now=now,
        extensions=extensions,
    )
    with transaction(home.engine) as connection:
        register.plan(connection, prepared, None)
    certificate = issuer.issue(prepared)
    with transaction(home.engine) as connection:
        register.issued(connection, issuer.name, certificate)
        serial = register.serial_text(certificate.serial_number)
        details = {"issuer": issuer.name, "member": name}
        home.chain.append(connection, [Event(now, "certificate.issued", reference=serial, details=details)])
    path = certificate_path(home.path, name)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(certificate.public_bytes(Encoding.PEM))
    fresh.replace(path)
    return certificate
