"""Acts under two people: one asks, another decides, each by a signature; and acts of one person, signed too.

Whoever works here shows a key of their own. That the machine, or its administrator, is trusted is no right to anything:
without staff, nothing of production can be created.
"""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import register as accounts
from intaglio.database.engine import reading, rehearsal, transaction
from intaglio.errors import Conflict, IntaglioError, NotAllowed, RequestRefused, Unauthenticated
from intaglio.ledger import writer
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service.act import Seen
from intaglio.service.acts import ACTS
from intaglio.service.home import Home
from intaglio.service.staffing import founded
from intaglio.staff import approvals, register
from intaglio.staff.approvals import Approval, State
from intaglio.staff.register import Known
from intaglio.staff.replay import Finding, Replayed, replay
from intaglio.staff.rights import OF_AN_ACCOUNT, RIGHTS, Role
from intaglio.staff.signature import SecretKey
from intaglio.staff.statement import Deed, Statement, content_hash, encode, signed

LIFETIME = timedelta(days=7)


class Outcome(msgspec.Struct, frozen=True):
    """What became of an act: its `result` if it was carried out, the approval if there is one."""

    done: bool
    result: Any = None
    approval: Approval | None = None


# One person --------------------------------------------------------------------------------------


def alone(
    home: Home,
    key: SecretKey | None,
    act: str,
    about: Any,
    now: datetime,
    *,
    account_id: str | None = None,
    guarded: bool = True,
) -> Home:
    """Return `home` for a person to act in who may do `act` alone; what is done there says who did it.

    Before there is any staff, and for what is only for tests, nobody has to be known. `about` is what it is done to.
    Raises `Unauthenticated`, `NotAllowed`.
    """
    if not guarded:
        return home
    with reading(home.engine) as connection:
        if not founded(connection):
            return home
    if key is None:
        raise _unknown()
    with transaction(home.engine) as connection:
        known = register.identify(connection, key.public_key(), now)
    try:
        _check_right(known, RIGHTS[act].asks, act, account_id)
    except NotAllowed as error:
        _record_denial(home, known, act, error, now)
        raise
    statement = Statement(
        deed=Deed.DO,
        act=act,
        content=content_hash(encode(about), encode(None)),
        person=known.person.id,
        certificate=known.certificate,
        at=now,
        account=account_id,
    )
    acting = _acting(home, known.person.id)
    details = {**signed(key, statement), "about": about}
    with transaction(home.engine) as connection:
        acting.chain.append(connection, [Event(now, "staff.acted", account_id, known.person.id, None, details)])
    return acting


def for_account(home: Home, key: SecretKey | None, act: str, account_id: str, now: datetime) -> Home:
    """Return `home` as `alone` does, for an act upon an account; raises `NotFound`, too."""
    with reading(home.engine) as connection:
        account = accounts.find(connection, account_id)
    guarded = account.hierarchy == Hierarchy.PRODUCTION
    return alone(home, key, act, {"account": account.id}, now, account_id=account.id, guarded=guarded)


# Two people --------------------------------------------------------------------------------------


def submit(home: Home, key: SecretKey | None, act: str, parameters: msgspec.Struct, now: datetime) -> Outcome:
    """Ask for an act: it waits for a second person, or is done at once where it is only for tests.

    1. what it would change is looked at, and 2. tried, and taken back; 3. who asks may; 4. it waits, durably.
    Raises what the act itself would, `Unauthenticated`, `NotAllowed`.
    """
    plain = msgspec.to_builtins(parameters)
    found = ACTS[act]
    # 1
    with reading(home.engine) as connection:
        seen = found.look(home, connection, parameters, now)
        staffed = founded(connection)
    if not seen.guarded:
        return Outcome(done=True, result=msgspec.to_builtins(_carry_out(home, act, parameters, now)))
    if not staffed:
        raise NotAllowed(
            "This needs two people, and there is no staff yet.",
            {"staff": "two security officers found it: intaglio staff found --help"},
        )
    if key is None:
        raise _unknown()
    # 3
    with reading(home.engine) as connection:
        known = register.identify(connection, key.public_key(), now)
    try:
        _check_right(known, RIGHTS[act].asks, act, seen.account_id)
    except NotAllowed as error:
        _record_denial(home, known, act, error, now)
        raise
    # 2
    _rehearse(home, act, parameters, now)
    # 4
    approval = Approval(
        id=approvals.new_id(),
        act=act,
        account_id=seen.account_id,
        parameters=plain,
        before=msgspec.to_builtins(seen.before),
        after=msgspec.to_builtins(seen.after),
        state=State.WAITING,
        asked_by=known.person.id,
        asked_at=now,
        expires_at=(now + LIFETIME).replace(microsecond=0),
    )
    event = _event(approval, "approval.asked", signed(key, _statement(approval, known, Deed.ASK, now)), now)
    with transaction(home.engine) as connection:
        approvals.add(connection, approval)
        _acting(home, known.person.id).chain.append(connection, [event])
    return Outcome(done=False, approval=approval)


def approve(home: Home, key: SecretKey, approval_id: str, content: str, now: datetime) -> Outcome:
    """Agree to an act and have it carried out; `content` is the SHA-256 of what was looked at.

    1. it waits, is what was looked at, and things are as they were; 2. who decides is another person, with the right
    to; 3. the decision is durable, with the act's own entries where it can be; 4. what works outside of it is done.
    A refusal is recorded. Raises `NotAllowed`, `Conflict`, `Unauthenticated`, what the act itself raises.
    """
    expire(home, now)
    with reading(home.engine) as connection:
        known = register.identify(connection, key.public_key(), now)
        approval = approvals.find(connection, approval_id)
    act = ACTS[approval.act]
    parameters = act.read(approval.parameters)
    try:
        # 1, 2
        with reading(home.engine) as connection:
            _check_decision(connection, approval, known, content)
            _check_unchanged(approval, act.look(home, connection, parameters, now))
    except RequestRefused as error:
        _record_denial(home, known, approval.act, error, now, approval)
        raise
    event = _event(approval, "approval.approved", signed(key, _statement(approval, known, Deed.APPROVE, now)), now)
    acting = _acting(home, known.person.id, approval.id)
    # 3
    with transaction(home.engine) as connection:
        # Once more, now that nobody else can write.
        _check_decision(connection, approvals.find(connection, approval_id), known, content)
        agreed = approvals.change(connection, approval, State.APPROVED, decided_by=known.person.id, now=now)
        acting.chain.append(connection, [event])
        if act.inside is not None:
            _check_unchanged(approval, act.look(home, connection, parameters, now))
            result = msgspec.to_builtins(act.inside(acting, connection, parameters, now))
            agreed = _finish(acting, connection, agreed, result, now)
    if act.outside is None:
        return Outcome(done=True, result=agreed.result, approval=agreed)
    # 4
    return _do_outside(acting, agreed, parameters, now)


def carry_out(home: Home, key: SecretKey, approval_id: str, now: datetime) -> Outcome:
    """Try again what was agreed on and failed; any of those who may ask for it or decide on it can."""
    with reading(home.engine) as connection:
        known = register.identify(connection, key.public_key(), now)
        approval = approvals.find(connection, approval_id)
    right = RIGHTS[approval.act]
    _check_right(known, right.asks | right.decides, approval.act, approval.account_id)
    if approval.state != State.APPROVED:
        raise Conflict(f"It is {approval.state}.", {"approval": "only what is agreed on and not done can be"})
    return _do_outside(
        _acting(home, known.person.id, approval.id), approval, ACTS[approval.act].read(approval.parameters), now
    )


def refuse(home: Home, key: SecretKey, approval_id: str, reason: str, now: datetime) -> Approval:
    """Decide against an act, or take back one's own: for good; raises `NotAllowed`, `Conflict`."""
    expire(home, now)
    with transaction(home.engine) as connection:
        known = register.identify(connection, key.public_key(), now)
        approval = approvals.find(connection, approval_id)
        own = approval.asked_by == known.person.id
        if not own:
            _check_right(known, RIGHTS[approval.act].decides, approval.act, approval.account_id)
        _check_waits(approval)
        state, deed = (State.WITHDRAWN, Deed.WITHDRAW) if own else (State.REFUSED, Deed.REFUSE)
        refused = approvals.change(connection, approval, state, decided_by=known.person.id, now=now)
        details = {**signed(key, _statement(approval, known, deed, now)), "reason": reason}
        event = _event(approval, f"approval.{state}", details, now)
        _acting(home, known.person.id).chain.append(connection, [event])
    return refused


def expire(home: Home, now: datetime) -> None:
    """Have it on record that what nobody decided in time is over."""
    with transaction(home.engine) as connection:
        for approval in approvals.overdue(connection, now):
            approvals.change(connection, approval, State.EXPIRED)
            home.chain.append(connection, [_event(approval, "approval.expired", {}, now)])


def check_ceremony(home: Home, script: str) -> None:
    """Raise `NotAllowed` unless a ceremony by the script of this SHA-256 (hex) was agreed on, or there is no staff."""
    with reading(home.engine) as connection:
        if not founded(connection):
            return
        done = [one for one in approvals.every(connection, only_open=False) if one.state == State.DONE]
    if not any(one.act == "authority.ceremony" and one.parameters["script"] == script for one in done):
        raise NotAllowed(
            "Nobody has agreed to this ceremony.", {"script": "two people agree first: intaglio ceremony allow SCRIPT"}
        )


# What they share ---------------------------------------------------------------------------------


def _check_decision(connection: Connection, approval: Approval, known: Known, content: str) -> None:
    _check_waits(approval)
    if approval.content != content:
        raise Conflict("This is not what was looked at.", {"sha256": f"is {approval.content}"})
    if approval.asked_by == known.person.id:
        raise NotAllowed("Who asked cannot decide.", {"approval": "needs a second, different person"})
    _check_right(known, RIGHTS[approval.act].decides, approval.act, approval.account_id)
    asker = register.find(connection, approval.asked_by)
    if asker.state != register.State.ACTIVE:
        raise Conflict(f"{asker.name}, who asked, is removed.", {"approval": "refuse it, and ask again"})


def _check_waits(approval: Approval) -> None:
    if approval.state != State.WAITING:
        raise Conflict(f"It is {approval.state}.", {"approval": "does not wait any more"})


def _check_unchanged(approval: Approval, seen: Seen) -> None:
    if encode(msgspec.to_builtins(seen.before)) != encode(approval.before):
        raise Conflict(
            "Things have changed since it was asked for.", {"approval": "refuse it, and ask again for what is wanted"}
        )


def _check_right(known: Known, roles: frozenset[Role], act: str, account_id: str | None) -> None:
    person = known.person
    having = roles.intersection(person.roles)
    if not having:
        raise NotAllowed(
            f"{person.name} ({', '.join(person.roles)}) may not: {act}.", {"role": f"one of {', '.join(sorted(roles))}"}
        )
    if having <= OF_AN_ACCOUNT and (account_id is None or person.account_id != account_id):
        raise NotAllowed(f"{person.name} may not: {act}.", {"account": "is not the person's own"})


def _statement(approval: Approval, known: Known, deed: Deed, now: datetime) -> Statement:
    return Statement(
        deed=deed,
        act=approval.act,
        content=approval.content,
        person=known.person.id,
        certificate=known.certificate,
        at=now,
        approval=approval.id,
        expires=approval.expires_at,
        account=approval.account_id,
    )


def _event(approval: Approval, kind: str, details: dict[str, Any], now: datetime) -> Event:
    return Event(now, kind, approval.account_id, approval.id, None, {"act": approval.act, **details})


def _acting(home: Home, person_id: str, approval_id: str | None = None) -> Home:
    return dataclasses.replace(home, chain=home.chain.acting(f"staff:{person_id}", approval_id))


def _carry_out(home: Home, act: str, parameters: Any, now: datetime) -> Any:
    found = ACTS[act]
    if found.outside is not None:
        return found.outside(home, parameters, now)
    if found.inside is None:
        raise Conflict("There is nothing to do.", {"act": act})
    with transaction(home.engine) as connection:
        return found.inside(home, connection, parameters, now)


def _rehearse(home: Home, act: str, parameters: Any, now: datetime) -> None:
    """Do it and take it back: what cannot be done is refused to who asks, not to who decides a week later."""
    found = ACTS[act]
    if found.inside is not None:
        with rehearsal(home.engine) as connection:
            found.inside(home, connection, parameters, now)


def _do_outside(acting: Home, approval: Approval, parameters: Any, now: datetime) -> Outcome:
    outside = ACTS[approval.act].outside
    if outside is None:
        raise Conflict("It is done.", {"approval": "has nothing left to do"})
    try:
        result = msgspec.to_builtins(outside(acting, parameters, now))
    except IntaglioError as error:
        with transaction(acting.engine) as connection:
            reason = {"reason": str(error), **(error.fields if isinstance(error, RequestRefused) else {})}
            acting.chain.append(connection, [_event(approval, "approval.failed", reason, now)])
        raise
    with transaction(acting.engine) as connection:
        done = _finish(acting, connection, approval, result, now)
    return Outcome(done=True, result=result, approval=done)


def _finish(acting: Home, connection: Connection, approval: Approval, result: Any, now: datetime) -> Approval:
    acting.chain.append(connection, [_event(approval, "approval.done", {}, now)])
    return approvals.change(connection, approval, State.DONE, result=result)


def _record_denial(
    home: Home, known: Known, act: str, error: RequestRefused, now: datetime, approval: Approval | None = None
) -> None:
    details = {"act": act, "person": known.person.id, "reason": str(error), **error.fields}
    account, reference = (None, None) if approval is None else (approval.account_id, approval.id)
    with transaction(home.engine) as connection:
        event = Event(now, "approval.denied", account, reference, None, details)
        _acting(home, known.person.id).chain.append(connection, [event])


def _unknown() -> Unauthenticated:
    return Unauthenticated("Who asks is not known.", {"as": "say who you are: --as KEYFILE"})


def audit(home: Home) -> Replayed:
    """Return what the ledger says of people and approvals, with what the database says otherwise as findings, too."""
    with reading(home.engine) as connection:
        found = replay(writer.recorded(connection))
        kept = approvals.every(connection, only_open=False)
    findings = list(found.findings)
    for one in kept:
        if one.id not in found.asked or found.asked[one.id].content != one.content:
            findings.append(Finding(one.id, one.act, "the database has another content than was asked for"))
            continue
        act = ACTS[one.act]
        findings += [
            Finding(done.entry, done.kind, "what was done is not what was agreed to")
            for done in found.done.get(one.id, [])
            if not act.did(act.read(one.parameters), done.details)
        ]
    missing = found.asked.keys() - {one.id for one in kept}
    findings += [Finding(one, found.asked[one].act, "is gone from the database") for one in sorted(missing)]
    return msgspec.structs.replace(found, findings=findings)
