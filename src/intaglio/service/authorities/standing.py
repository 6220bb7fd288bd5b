"""Whether the certificates of members still hold."""

from collections.abc import Mapping

from sqlalchemy import Connection

from intaglio.database.engine import reading
from intaglio.pki.hierarchy import Roster
from intaglio.revocation import register
from intaglio.service.home import Home


def serials(home: Home, roster: Roster) -> dict[str, tuple[str, str]]:
    """Return issuer and serial number of every member's certificate, as the register knows it."""
    return {
        member.name: (member.issuer or member.name, register.serial_text(home.certificate(member.name).serial_number))
        for member in roster.members
        if member.certified
    }


def revoked(home: Home, roster: Roster) -> set[str]:
    """Return the names of the members whose certificates are revoked."""
    known = serials(home, roster)
    with reading(home.engine) as connection:
        return revoked_of(connection, known)


def revoked_of(connection: Connection, known: Mapping[str, tuple[str, str]]) -> set[str]:
    """Return which of `known` (issuer and serial number by name) are revoked."""
    gone = register.revoked_serials(connection, set(known.values()))
    return {name for name, place in known.items() if place in gone}
