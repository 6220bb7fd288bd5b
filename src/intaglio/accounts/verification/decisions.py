"""Use cases: apply for a verification mechanism, and decide about it; each leaves an entry."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import register as accounts
from intaglio.accounts.kinds import PROFILE_OF
from intaglio.accounts.policy import load
from intaglio.accounts.rules import Faults
from intaglio.accounts.verification import register
from intaglio.accounts.verification import rule as rules
from intaglio.accounts.verification.register import Depth, Mechanism, State, Type
from intaglio.errors import Conflict, ContentRefused
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki import text
from intaglio.pki.hierarchy import Hierarchy
from intaglio.pki.profiles import PROFILES

# Whoever verifies people is looked at again after that at the latest.
LONGEST = timedelta(days=1096)
_MOST_FILES = 32
_SHA256 = re.compile(r"\A[0-9a-f]{64}\Z")


def apply(
    connection: Connection,
    chain: Chain,
    account_id: str,
    *,
    type: Type,  # noqa: A002 - the word of the register, of its commands and documents
    provider: str,
    description: str,
    evidence: Mapping[str, str],
    valid_until: datetime,
    now: datetime,
    rule: Any = None,
    loopback_http: bool = False,
) -> Mechanism:
    """Apply for a mechanism on behalf of an account; `evidence` are names of files with the SHA-256 of each, hex.

    With a `rule` (a JSON document, see `TokenRule`) what is certified is proven by tokens. `loopback_http` is the
    setting of that name. Raises `NotFound`, `Conflict` for a closed account, `ContentRefused` naming every field.
    """
    account = accounts.find(connection, account_id)
    if account.state == accounts.State.CLOSED:
        raise Conflict("The account is closed.", {"account": "closed"})
    faults = Faults()
    if rule is not None:
        read = rules.read(rule)
        policy = load(accounts.policy_document(connection, account_id)[0], PROFILES[PROFILE_OF[account.kind]])
        rules.check(read, policy, faults, loopback=loopback_http or account.hierarchy == Hierarchy.TEST)
        # With what it does not say, so that it stays what was approved.
        rule = msgspec.to_builtins(read)
    faults.refuse("provider", text.fault_of_text(provider, 128))
    faults.refuse("description", text.fault_of_text(description, 2000))
    if not 1 <= len(evidence) <= _MOST_FILES:
        faults.refuse("evidence", f"1 to {_MOST_FILES} files are needed")
    for name, sha256 in evidence.items():
        faults.refuse(f"evidence.{name}", text.fault_of_text(name, 128))
        if not _SHA256.match(sha256):
            faults.refuse(f"evidence.{name}", "must be a SHA-256 in hexadecimal digits")
    if not now < valid_until <= now + LONGEST:
        faults.refuse("valid_until", f"must be in the future, {LONGEST.days} days from now at the latest")
    if faults.refused:
        raise ContentRefused("The mechanism cannot be applied for.", faults.refused)
    if rule is not None and rule["binding"] == "request":
        _check_audience(connection, account_id, rule)
    applied = Mechanism(
        id=accounts.new_id(),
        account_id=account_id,
        version=1,
        type=type,
        depth=Depth.ASSERTED if rule is None else Depth.PROVEN,
        provider=provider,
        description=description,
        evidence=dict(evidence),
        rule=rule,
        state=State.APPLIED,
        reason=None,
        applied_at=now,
        applied_by=chain.actor[:64],
        decided_at=None,
        decided_by=None,
        valid_until=valid_until,
    )
    register.add(connection, applied)
    details = {
        "version": applied.version,
        "type": applied.type,
        "depth": applied.depth,
        "provider": provider,
        "description": description,
        "evidence": applied.evidence,
        "rule": applied.rule,
        "valid_until": valid_until,
    }
    chain.append(connection, [Event(now, "mechanism.applied", account_id, applied.id, None, details)])
    return applied


def approve(connection: Connection, chain: Chain, mechanism_id: str, now: datetime) -> Mechanism:
    """Approve what was applied for, or was due for audit; raises `NotFound` or `Conflict`."""
    found = register.find(connection, mechanism_id)
    if found.valid_until <= now:
        raise Conflict("The mechanism's time is over: apply for a new one.", {"valid_until": "is over"})
    return _decide(connection, chain, mechanism_id, State.APPROVED, {State.APPLIED, State.AUDIT_DUE}, None, now)


def _check_audience(connection: Connection, account_id: str, rule: dict[str, Any]) -> None:
    """Raise `Conflict` where an issuer's tokens for this audience serve another account.

    What binds them to a request's body does not say whose request it is; a nonce that was fetched here does.
    """
    parts = ("issuer", "audience", "binding")
    for other in register.every(connection):
        same = other.rule is not None and all(other.rule[part] == rule[part] for part in parts)
        if same and other.account_id != account_id and other.state != State.REFUSED:
            raise Conflict(
                "The issuer's tokens for this audience are another account's.",
                {"rule.audience": "is in use: have the provider issue tokens for an audience of this account's own"},
            )


def resume(connection: Connection, chain: Chain, mechanism_id: str, now: datetime) -> Mechanism:
    """Let a suspended mechanism work again; raises `NotFound` or `Conflict`."""
    if register.find(connection, mechanism_id).valid_until <= now:
        raise Conflict("The mechanism's time is over: apply for a new one.", {"valid_until": "is over"})
    return _decide(connection, chain, mechanism_id, State.APPROVED, {State.SUSPENDED}, None, now, act="resumed")


def refuse(connection: Connection, chain: Chain, mechanism_id: str, reason: str, now: datetime) -> Mechanism:
    """Refuse a mechanism for good; raises `NotFound`, `Conflict` or `ContentRefused`."""
    before = {State.APPLIED, State.APPROVED, State.SUSPENDED, State.AUDIT_DUE}
    return _decide(connection, chain, mechanism_id, State.REFUSED, before, reason, now)


def suspend(connection: Connection, chain: Chain, mechanism_id: str, reason: str, now: datetime) -> Mechanism:
    """Certify nobody by it until it is resumed; raises `NotFound`, `Conflict` or `ContentRefused`."""
    return _decide(connection, chain, mechanism_id, State.SUSPENDED, {State.APPROVED, State.AUDIT_DUE}, reason, now)


def call_for_audit(connection: Connection, chain: Chain, mechanism_id: str, reason: str, now: datetime) -> Mechanism:
    """Certify nobody by it until it was audited and approved again; raises as `suspend` does."""
    return _decide(connection, chain, mechanism_id, State.AUDIT_DUE, {State.APPROVED, State.SUSPENDED}, reason, now)


def _decide(
    connection: Connection,
    chain: Chain,
    mechanism_id: str,
    state: State,
    before: set[State],
    reason: str | None,
    now: datetime,
    act: str | None = None,
) -> Mechanism:
    fault = None if reason is None else text.fault_of_text(reason, 500)
    if fault is not None:
        raise ContentRefused("The reason cannot be recorded.", {"reason": fault})
    decided = register.decide(
        connection, mechanism_id, state, before=before, reason=reason, decided_by=chain.actor, now=now
    )
    details = {
        "mechanism": mechanism_id,
        "version": decided.version,
        "state": state,
        "reason": reason,
        "valid_until": decided.valid_until,
    }
    chain.append(connection, [Event(now, f"mechanism.{act or state}", decided.account_id, mechanism_id, None, details)])
    return decided
