"""Whether what is in force was agreed to: the ledger's people and approvals, and the database held against them."""

from collections.abc import Iterator

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import onboarding
from intaglio.accounts import register as accounts
from intaglio.accounts.verification import register as mechanisms
from intaglio.database.engine import reading
from intaglio.ledger import writer
from intaglio.service.acts import ACTS
from intaglio.service.home import Home
from intaglio.staff import approvals, register
from intaglio.staff.approvals import is_asked
from intaglio.staff.replay import replay
from intaglio.staff.replayed import Finding, Replayed

_OF_MECHANISMS = (
    "version", "type", "depth", "provider", "description", "evidence", "rule", "valid_until", "state",
)  # fmt: skip
_APPLIED = str(mechanisms.State.APPLIED)


def audit(home: Home) -> Replayed:
    """Return what the ledger says of people and approvals, with what the database says otherwise as findings, too."""
    with reading(home.engine) as connection:
        found = replay(writer.recorded(connection), home.chain.name)
        kept = approvals.every(connection, only_open=False)
        findings = [*found.findings, *_differences(connection, found)]
    for one in kept:
        asked = found.asked.get(one.id)
        if not is_asked(one, asked):
            findings.append(Finding(one.id, one.act, "the database has another content than was asked for"))
            continue
        if found.states[one.id] != one.state:
            findings.append(Finding(one.id, one.act, f"is {one.state} in the database, {found.states[one.id]} here"))
        act = ACTS[one.act]
        findings += [
            Finding(done.entry, done.kind, "what was done is not what was agreed to")
            for done in found.done.get(one.id, [])
            if not act.fits(one.parameters, one.after, done)
        ]
    missing = found.asked.keys() - {one.id for one in kept}
    findings += [Finding(one, found.asked[one].act, "is gone from the database") for one in sorted(missing)]
    return msgspec.structs.replace(found, findings=findings)


def _differences(connection: Connection, found: Replayed) -> Iterator[Finding]:
    """Yield where accounts, their policies and people are otherwise in the database than in the ledger."""
    for account in accounts.every(connection):
        told = found.accounts.get(account.id)
        if told is not None and told != (account.hierarchy, account.state):
            reason = f"is {account.hierarchy}, {account.state} in the database, {', '.join(told)} in the ledger"
            yield Finding(account.id, "account", reason)
        elif told is None:
            yield Finding(account.id, "account", "is in the database, and the ledger does not know of it")
        document, _ = accounts.policy_document(connection, account.id)
        wanted = found.policies.get(account.id)
        if wanted is not None and onboarding.policy_hash(document) != wanted:
            yield Finding(account.id, "policy", "is another in the database than the last one put in force")
    for mechanism in mechanisms.every(connection):
        kept = msgspec.to_builtins(mechanism)
        told_of = found.mechanisms.get(mechanism.id, {})
        if any(told_of.get(part, _APPLIED if part == "state" else None) != kept[part] for part in _OF_MECHANISMS):
            yield Finding(mechanism.id, "mechanism", "is another in the database than was applied for and decided on")
    for person in register.every(connection):
        active = person.state == register.State.ACTIVE
        if found.people.get(person.id) is not active:
            yield Finding(person.id, "person", "is otherwise in the database than in the ledger")
