"""Whom a hierarchy is served by."""

from datetime import datetime

import msgspec

from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, ContentRefused
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import Family, Hierarchy, KeyPlace, Member, Roster, State
from intaglio.revocation import register
from intaglio.service.authorities.standing import revoked
from intaglio.service.home import Home
from intaglio.service.roster import changing, write


def activate(home: Home, hierarchy: Hierarchy, name: str, now: datetime) -> Family:
    """Have the issuing CA, or the TSA, `name` serve a hierarchy; return who serves it now.

    The one before is retired: it issues no more, and its OCSP and CRL go on. 1. that it can serve is looked at; 2. the
    entry is durable; 3. the change is. Called again, it does nothing. A running service follows within seconds.
    Raises `ContentRefused` (another kind or hierarchy), `Conflict` (not installed, revoked, over, without status),
    `NotFound`.
    """
    with changing(home.path) as roster:
        # 1
        member = roster.member(name)
        if member.profile not in {"issuing", "tsa"}:
            raise ContentRefused("Only an issuing CA or a TSA serves.", {"name": f"its kind is {member.profile}"})
        if member.test != (hierarchy == Hierarchy.TEST):
            raise ContentRefused(f"{name} is of the other hierarchy.", {"hierarchy": f"{name} is not of {hierarchy}"})
        family = roster.family(hierarchy)
        before = family.issuing if member.profile == "issuing" else family.tsa
        if before == name:
            return family
        _check(home, roster, member, now)
        # 2
        details = {"hierarchy": hierarchy, "member": name, "before": before}
        with transaction(home.engine) as connection:
            home.chain.append(connection, [Event(now, "authority.activated", reference=name, details=details)])
        # 3
        if member.profile == "issuing":
            changed = msgspec.structs.replace(family, issuing=name, before=before, since=now)
        else:
            changed = msgspec.structs.replace(family, tsa=name)
        replaced = roster.with_member(msgspec.structs.replace(member, state=State.ACTIVE))
        old = replaced.find(before or "")
        if old is not None:
            replaced = replaced.with_member(msgspec.structs.replace(old, state=State.RETIRED))
        write(home.path, replaced.with_family(hierarchy, changed))
    return changed


def _check(home: Home, roster: Roster, member: Member, now: datetime) -> None:
    if not member.certified:
        raise Conflict(f"{member.name} has no certificate yet.", {"name": "install its certificate first"})
    if member.key != KeyPlace.HERE:
        raise Conflict(f"The key of {member.name} is not here.", {"name": f"its key is {member.key}"})
    home.keyring.key(member.name)
    certificate = home.certificate(member.name)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise Conflict(f"{member.name} is not valid now.", {"name": f"ends at {certificate.not_valid_after_utc}"})
    if member.name in revoked(home, roster):
        raise Conflict(f"{member.name} is revoked.", {"name": "is revoked"})
    above = roster.member(member.issuer or "")
    responder = roster.find(above.responder)
    if responder is None or not responder.certified:
        raise Conflict(
            f"Nothing here answers for {above.name} yet: request and install its OCSP responder first.",
            {"issuer": f"{above.responder} is missing"},
        )
    if above.key == KeyPlace.HERE:
        return
    with reading(home.engine) as connection:
        latest = register.latest_list(connection, above.name)
    if latest is None or latest.next_update <= now:
        raise Conflict(
            f"There is no current revocation list of {above.name}: import one first.", {"issuer": "no current list"}
        )
