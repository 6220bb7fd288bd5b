"""Use cases of profiles and accreditations; each leaves an entry in the ledger."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import policy
from intaglio.accounts import register as accounts
from intaglio.accounts.profiles import accreditation, choice, register
from intaglio.accounts.profiles.accreditation import Accredited
from intaglio.accounts.profiles.register import Stop
from intaglio.accounts.register import Account, State
from intaglio.errors import Conflict, ContentRefused
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki import profile_file, text
from intaglio.pki.profiles import Profile


def add_profile(connection: Connection, chain: Chain, document: str, now: datetime) -> Profile:
    """Add a profile or its next version, which is in force for the accounts that have it.

    Raises `ContentRefused`, or `Conflict` for another version than the next, or where an account's policy does not fit.
    """
    raw = document.encode()
    profile = profile_file.own(raw)
    _check_accounts(connection, profile)
    register.add(connection, profile, raw, chain.actor, now)
    details = {
        "name": profile.name,
        "version": profile.version,
        "sha256": register.sha256_of(raw),
        "holder": profile.holder,
    }
    chain.append(connection, [Event(now, "profile.added", reference=profile.name, details=details)])
    return profile


def _check_accounts(connection: Connection, profile: Profile) -> None:
    for account in accounts.every(connection):
        if account.profile != profile.name or account.state == State.CLOSED:
            continue
        try:
            choice.check_holder(profile, account.kind)
            policy.load(accounts.policy_document(connection, account.id)[0], profile)
        except ContentRefused as error:
            place, reason = next(iter(error.fields.items()))
            raise Conflict(
                "An account has this profile, and its policy does not fit.", {account.id: f"{place}: {reason}"}
            ) from error


def choose_profile(connection: Connection, chain: Chain, account_id: str, name: str | None, now: datetime) -> Account:
    """Give an account a profile, or with None that of its kind again.

    Raises `NotFound`, `Conflict` for a closed account, `ContentRefused` where the account's policy does not fit.
    """
    account = accounts.find(connection, account_id)
    if account.state == State.CLOSED:
        raise Conflict("The account is closed.", {"account": "closed"})
    chosen = msgspec.structs.replace(account, profile=name)
    profile = choice.of(connection, chosen)
    choice.check_holder(profile, account.kind)
    policy.load(accounts.policy_document(connection, account_id)[0], profile)
    accounts.set_profile(connection, account_id, name)
    details = {"profile": name, "version": profile.version, "name": profile.name}
    chain.append(connection, [Event(now, "profile.chosen", account_id, profile.name, None, details)])
    return chosen


def stop_profile(connection: Connection, chain: Chain, stop: Stop) -> bool:
    """Have nothing more issued under a profile, because of a rule that it breaks; return whether that is new."""
    fresh = register.stop(connection, stop)
    if fresh:
        details = {"name": stop.name, "version": stop.version, "rule": stop.rule}
        chain.append(connection, [Event(stop.stopped_at, "profile.stopped", reference=stop.name, details=details)])
    return fresh


def resume_profile(connection: Connection, chain: Chain, name: str, now: datetime) -> Stop:
    """Have a profile that was stopped issue again; raises `Conflict` if it does."""
    found = register.resume(connection, name)
    details = {"name": name, "version": found.version, "rule": found.rule}
    chain.append(connection, [Event(now, "profile.resumed", reference=name, details=details)])
    return found


def record_accreditation(
    connection: Connection,
    chain: Chain,
    *,
    issuer: str,
    reference: str,
    evidence_sha256: str,
    device: bool,
    until: datetime,
    now: datetime,
) -> Accredited:
    """Record that an issuing CA is accredited for qualified certificates; raises `ContentRefused`."""
    faults = {"reference": text.fault_of_text(reference, 256), "until": None if until > now else "is over already"}
    found = {field: reason for field, reason in faults.items() if reason is not None}
    if found:
        raise ContentRefused("The accreditation cannot be recorded.", found)
    accredited = Accredited(issuer, reference, evidence_sha256, device, until, chain.actor[:64], now)
    accreditation.record(connection, accredited)
    chain.append(connection, [Event(now, "accreditation.recorded", reference=issuer, details=_details(accredited))])
    return accredited


def withdraw_accreditation(connection: Connection, chain: Chain, issuer: str, reason: str, now: datetime) -> Accredited:
    """Record that an issuing CA is accredited no more: nothing qualified is issued by it; raises `Conflict`."""
    found = accreditation.withdraw(connection, issuer)
    details = {**_details(found), "reason": reason}
    chain.append(connection, [Event(now, "accreditation.withdrawn", reference=issuer, details=details)])
    return found


def _details(accredited: Accredited) -> dict[str, Any]:
    told = msgspec.to_builtins(accredited)
    return {name: told[name] for name in ("issuer", "reference", "evidence_sha256", "device", "until")}
