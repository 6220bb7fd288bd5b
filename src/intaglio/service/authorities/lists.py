"""Revocation lists of CAs whose keys are elsewhere: taken in, and watched, since no new one can be made here."""

import hashlib
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection

from intaglio.database.engine import bump_revision, transaction
from intaglio.errors import Conflict, ContentRefused, Malformed
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import KeyPlace, Member, Roster, State
from intaglio.revocation import register
from intaglio.revocation.register import REASONS, RevocationList, serial_text
from intaglio.service.home import Home
from intaglio.service.roster import changing

# Thousands of entries: a CA whose key is elsewhere signs a handful of certificates.
_MOST_OCTETS = 1 << 18
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
# The clock of a machine without a network may be ahead a little.
_TOLERANCE = timedelta(minutes=5)
_KNOWN_EXTENSIONS = frozenset({x509.AuthorityKeyIdentifier.oid, x509.CRLNumber.oid})
_KNOWN_ENTRY_EXTENSIONS = frozenset({x509.CRLReason.oid, x509.InvalidityDate.oid})
_NOTICE = timedelta(days=30)


def import_list(home: Home, name: str, crl_der: bytes, now: datetime) -> RevocationList:
    """Take in a complete CRL of a CA whose key is elsewhere; it is what is published from then on.

    1. the list is looked at; 2. list, revocations and entries are durable, all or none: OCSP then says the same.
    Called again with the same list, it does nothing.
    Raises `Malformed`, `ContentRefused` naming what is wrong with it, `Conflict` (an older one; a certificate that is
    revoked here and not on it), `NotFound`.
    """
    crl = _read(crl_der)
    with changing(home.path) as roster:
        member = roster.member(name)
        if not member.is_ca or member.key == KeyPlace.HERE or not member.certified:
            raise Conflict(f"{name} makes its own lists, or none.", {"name": "no CA whose key is elsewhere"})
        # 1
        authority = home.certificate(name)
        found = _checked(name, crl, authority, now)
        with transaction(home.engine) as connection:
            before = register.latest_list(connection, name)
            if before is not None and before.der == crl_der:
                return before
            _check_later(found, before)
            # 2
            register.publish_list(connection, found)
            revoked = _revoke(connection, name, crl, authority.not_valid_after_utc)
            details = {"issuer": name, "number": found.number, "next_update": found.next_update, "new": revoked}
            details["sha256"] = hashlib.sha256(crl_der).hexdigest()
            events = [
                Event(now, "certificate.revoked", reference=serial, details={"issuer": name, "list": found.number})
                for serial in revoked
            ]
            home.chain.append(connection, [*events, Event(now, "crl.imported", reference=name, details=details)])
            bump_revision(connection)
    return found


def _read(der: bytes) -> x509.CertificateRevocationList:
    if len(der) > _MOST_OCTETS:
        raise ContentRefused("The list is too long.", {"crl": f"at most {_MOST_OCTETS} octets"})
    try:
        found = x509.load_der_x509_crl(der)
        list(found.extensions)
    except ValueError as error:
        raise Malformed("This is not a certificate revocation list in DER.", {"crl": str(error)}) from error
    return found


def _checked(
    name: str, crl: x509.CertificateRevocationList, authority: x509.Certificate, now: datetime
) -> RevocationList:
    faults: dict[str, str] = {}
    if crl.issuer != authority.subject:
        faults["issuer"] = f"is {crl.issuer.rfc4514_string()}, not {authority.subject.rfc4514_string()}"
    elif not _signed(crl, authority):
        faults["signature"] = f"is not that of {name} over SHA-256, SHA-384 or SHA-512"
    # A partial, indirect or delta list says so in extensions of its own (RFC 5280 §5.2): none of them is taken.
    unknown = {one.oid for one in crl.extensions} - _KNOWN_EXTENSIONS
    if unknown:
        faults["extensions"] = f"{', '.join(sorted(oid.dotted_string for oid in unknown))} cannot be taken"
    number = _number(crl)
    if number is None:
        faults["number"] = "there is no CRL number, or one too large"
    if crl.last_update_utc > now + _TOLERANCE:
        faults["this_update"] = f"{crl.last_update_utc} is to come"
    next_update = crl.next_update_utc
    if next_update is None or next_update <= now:
        faults["next_update"] = "there is none" if next_update is None else f"{next_update} is over"
    faults |= _entry_faults(crl)
    if faults or number is None or next_update is None:
        raise ContentRefused("The list cannot be used; nothing was changed.", faults)
    der = crl.public_bytes(Encoding.DER)
    return RevocationList(name, number, crl.last_update_utc, next_update, der)


def _signed(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        valid = crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
        return valid and isinstance(crl.signature_hash_algorithm, _HASHES)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False


def _number(crl: x509.CertificateRevocationList) -> int | None:
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None
    # As large as the register takes them; RFC 5280 §5.2.3 allows 20 octets.
    return number if 0 <= number < 1 << 63 else None


def _entry_faults(crl: x509.CertificateRevocationList) -> dict[str, str]:
    faults: dict[str, str] = {}
    for entry in crl:
        place = f"entry {serial_text(entry.serial_number)}"
        unknown = {one.oid for one in entry.extensions} - _KNOWN_ENTRY_EXTENSIONS
        if unknown:
            faults[place] = f"{', '.join(sorted(oid.dotted_string for oid in unknown))} cannot be taken"
        elif _reason(entry) not in REASONS:
            faults[place] = f"{_reason(entry)}: a revocation here is for good"
        elif entry.revocation_date_utc > crl.last_update_utc:
            faults[place] = f"{entry.revocation_date_utc} is after the list's own time"
    return faults


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        return str(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value)
    except x509.ExtensionNotFound:
        return "unspecified"


def _check_later(found: RevocationList, before: RevocationList | None) -> None:
    if before is None:
        return
    if found.number <= before.number:
        raise Conflict(
            "The list is not newer than the one published.",
            {"number": f"{found.number}, published is {before.number}"},
        )
    if found.this_update < before.this_update:
        raise Conflict(
            "The list is older than the one published.",
            {"this_update": f"{found.this_update}, published is {before.this_update}"},
        )


def _revoke(connection: Connection, issuer: str, crl: x509.CertificateRevocationList, not_after: datetime) -> list[str]:
    """Revoke what the list revokes; return the serial numbers that were not revoked here before.

    Raises `Conflict` when one is revoked here that the list does not have: two answers to one question help nobody.
    """
    listed = {serial_text(entry.serial_number): entry for entry in crl}
    here = {standing.serial for standing in register.revoked(connection, issuer)}
    missing = sorted(here - listed.keys())
    if missing:
        raise Conflict(
            "The list lacks certificates that are revoked here: have the CA revoke them first.",
            {"entries": f"without {', '.join(missing[:5])}"},
        )
    fresh = [serial for serial in listed if serial not in here]
    for serial in fresh:
        entry = listed[serial]
        standing = register.find(connection, issuer, serial)
        if standing is None:
            # Never seen here; asked about it, OCSP must not know less than the list.
            register.adopt_revoked(connection, issuer, serial, entry.revocation_date_utc, not_after)
        register.revoke(connection, issuer, serial, _reason(entry), entry.revocation_date_utc)
    return fresh


class Shortage(msgspec.Struct, frozen=True):
    """A CA whose key is elsewhere and whose list ends soon, or has ended, or was never taken in."""

    name: str
    next_update: datetime | None

    def told(self, now: datetime) -> str:
        """Return a sentence for the operator."""
        if self.next_update is None:
            return f"there is no revocation list of {self.name} yet: have one made where its key is, and import it"
        ends = "has ended" if self.next_update <= now else "ends"
        return f"the revocation list of {self.name} {ends} at {self.next_update}: import a newer one"


def shortages(connection: Connection, roster: Roster, now: datetime) -> list[Shortage]:
    """Return the lists that have to be imported soon: a quarter of their time is left, or 30 days if that is less."""
    found = []
    for member in roster.members:
        if not _watched(member):
            continue
        latest = register.latest_list(connection, member.name)
        if latest is None:
            found.append(Shortage(member.name, None))
        elif latest.next_update - now < min(_NOTICE, (latest.next_update - latest.this_update) / 4):
            found.append(Shortage(member.name, latest.next_update))
    return found


def _watched(member: Member) -> bool:
    return member.is_ca and member.key == KeyPlace.ELSEWHERE and member.state != State.REQUESTED
