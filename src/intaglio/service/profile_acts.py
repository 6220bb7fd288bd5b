"""The acts upon profiles and accreditations: what each takes, what it would change, and how it is carried out."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import register
from intaglio.accounts.profiles import accreditation, changes, choice
from intaglio.accounts.profiles import register as profiles
from intaglio.accounts.register import Account
from intaglio.database.engine import transaction
from intaglio.errors import NotFound
from intaglio.pki import profile_file
from intaglio.pki.hierarchy import Hierarchy
from intaglio.pki.profiles import Profile
from intaglio.service.act import Act, Seen, says
from intaglio.service.home import Home
from intaglio.service.profiles import check_accreditable, check_trial, check_usable
from intaglio.staff.register import founded
from intaglio.staff.replayed import Done


class SetProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A profile, by name, for an account; None is that of its kind."""

    account: str
    profile: str | None


class AddProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A profile's file, TOML."""

    document: str


class OfProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A profile, by name."""

    name: str


class Accredit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An issuing CA that is accredited until then; `evidence_sha256` is hex, `device` for qualified devices, too."""

    issuer: str
    reference: str
    evidence_sha256: str
    device: bool
    until: datetime


def _look_at_choice(home: Home, connection: Connection, asked: SetProfile, now: datetime) -> Seen:
    account = register.find(connection, asked.account)
    before = choice.of(connection, account)
    after = choice.of(connection, msgspec.structs.replace(account, profile=asked.profile))
    check_usable(home, connection, after, account.hierarchy, now)
    guarded = account.hierarchy == Hierarchy.PRODUCTION
    return Seen(_shown(account, before), _shown(account, after), account.id, guarded=guarded)


def _shown(account: Account, profile: Profile) -> dict[str, Any]:
    return {
        "account": account.id,
        "name": account.name,
        "profile": profile.name,
        "version": profile.version,
        "title": profile.title,
    }


def _choose(home: Home, connection: Connection, asked: SetProfile, now: datetime) -> Any:
    chosen = changes.choose_profile(connection, home.chain, asked.account, asked.profile, now)
    return {"account_id": chosen.id, "profile": choice.of(connection, chosen).name}


def _look_at_profile(_home: Home, connection: Connection, asked: AddProfile, _now: datetime) -> Seen:
    profile = profile_file.own(asked.document.encode())
    try:
        before: str | None = profiles.history(connection, profile.name)[-1].document
    except NotFound:
        before = None
    return Seen(before, asked.document, guarded=founded(connection))


def _add_profile(home: Home, asked: AddProfile, now: datetime) -> Any:
    raw = asked.document.encode()
    check_trial(home, profile_file.own(raw), profiles.sha256_of(raw), now)
    with transaction(home.engine) as connection:
        added = changes.add_profile(connection, home.chain, asked.document, now)
    return {"name": added.name, "version": added.version}


def _look_at_stopped(_home: Home, connection: Connection, asked: OfProfile, _now: datetime) -> Seen:
    stop = profiles.stopped(connection, asked.name)
    before, after = ({"profile": asked.name, "stopped": one} for one in (msgspec.to_builtins(stop), None))
    return Seen(before, after, guarded=founded(connection))


def _resume_profile(home: Home, connection: Connection, asked: OfProfile, now: datetime) -> Any:
    return changes.resume_profile(connection, home.chain, asked.name, now)


def _look_at_accreditation(home: Home, connection: Connection, asked: Accredit, _now: datetime) -> Seen:
    check_accreditable(home, asked.issuer)
    before = accreditation.find(connection, asked.issuer)
    return Seen(msgspec.to_builtins(before), msgspec.to_builtins(asked))


def _accredit(home: Home, connection: Connection, asked: Accredit, now: datetime) -> Any:
    return changes.record_accreditation(connection, home.chain, **msgspec.structs.asdict(asked), now=now)


def _added_it(asked: AddProfile, done: Done) -> bool:
    return bool(done.details.get("sha256") == profiles.sha256_of(asked.document.encode()))


PROFILE_ACTS: Mapping[str, Act] = {
    "account.profile": Act(SetProfile, _look_at_choice, says("profile"), inside=_choose),
    "profile.add": Act(AddProfile, _look_at_profile, _added_it, outside=_add_profile),
    "profile.resume": Act(OfProfile, _look_at_stopped, says("name"), inside=_resume_profile),
    "accreditation.record": Act(
        Accredit,
        _look_at_accreditation,
        says("issuer", "reference", "evidence_sha256", "device", "until"),
        inside=_accredit,
    ),
}
