"""The members of the hierarchy as an operator wants to see them, and what has to be done about them soon."""

from datetime import datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec.structs import replace

from intaglio.database.engine import reading
from intaglio.pki.hierarchy import Hierarchy, Member, Roster
from intaglio.revocation import register
from intaglio.service.authorities.lists import shortages
from intaglio.service.authorities.standing import revoked
from intaglio.service.home import Home

_NOTICE_DAYS = 30


class Listed(msgspec.Struct, frozen=True):
    """One member; `serial` is hex, `serves` the hierarchy that it issues or stamps for, `crl_*` are of a CA's own CRL.

    What a requested member does not have yet is None.
    """

    name: str
    profile: str
    issuer: str | None
    subject: str
    state: str
    key: str
    serves: Hierarchy | None
    algorithm: str | None
    serial: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    days_left: int | None = None
    crl_number: int | None = None
    crl_next_update: datetime | None = None


class Inventory(msgspec.Struct, frozen=True):
    """Every member, and sentences on what has to be done soon."""

    members: list[Listed]
    notices: list[str]


def inventory(home: Home, now: datetime) -> Inventory:
    """Return the members of a home as they are at `now`; raises `KeyUnavailable` for a certificate that is missing."""
    roster = home.roster()
    gone = revoked(home, roster)
    serving = {
        name: hierarchy
        for hierarchy, family in roster.families.items()
        for name in (family.issuing, family.tsa)
        if name is not None
    }
    with reading(home.engine) as connection:
        lists = {one.name: register.latest_list(connection, one.name) for one in roster.members if one.is_ca}
        short = shortages(connection, roster, now)
    members = [
        _listed(home, one, lists.get(one.name), serving.get(one.name), now, revoked=one.name in gone)
        for one in roster.members
    ]
    notices = [one.told(now) for one in short]
    notices += [_ending(one) for one in members if one.days_left is not None and one.days_left < _NOTICE_DAYS]
    notices += [
        f"{one.name} is revoked: {one.serves} is not served until another is activated"
        for one in members
        if one.state == "revoked" and one.serves is not None
    ]
    return Inventory(members, notices + _unserved(roster))


def _listed(
    home: Home,
    member: Member,
    latest: register.RevocationList | None,
    serves: Hierarchy | None,
    now: datetime,
    *,
    revoked: bool,
) -> Listed:
    found = Listed(
        name=member.name,
        profile=member.profile,
        issuer=member.issuer,
        subject=home.subject(member.title).rfc4514_string(),
        state=str(member.state),
        key=str(member.key),
        serves=serves,
        algorithm=member.algorithm,
    )
    if latest is not None:
        found = replace(found, crl_number=latest.number, crl_next_update=latest.next_update)
    if not member.certified:
        return found
    certificate = home.certificate(member.name)
    return replace(
        found,
        subject=certificate.subject.rfc4514_string(),
        algorithm=_algorithm(certificate.public_key()),
        serial=register.serial_text(certificate.serial_number),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        days_left=(certificate.not_valid_after_utc - now) // timedelta(days=1),
        state="revoked" if revoked else found.state,
    )


def _algorithm(key: object) -> str:
    """Return the kind of a key as settings write it, and of any other what can be said."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa-{key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"p-{key.curve.key_size}"
    return type(key).__name__


def _ending(one: Listed) -> str:
    ends = "has ended" if (one.days_left or 0) < 0 else f"ends in {one.days_left} days"
    return f"the certificate of {one.name} {ends}"


def _unserved(roster: Roster) -> list[str]:
    found = []
    for hierarchy in Hierarchy:
        family = roster.family(hierarchy)
        found += [f"{hierarchy} has no {role}" for role, name in _roles(family.issuing, family.tsa) if name is None]
    return found


def _roles(issuing: str | None, tsa: str | None) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
    return ("issuing CA", issuing), ("time-stamping authority", tsa)
