"""Acts under two people: one asks, another decides, each by a signature. Without staff, none of them is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection

from intaglio.database.engine import reading, rehearsal, transaction
from intaglio.errors import Conflict, ContentRefused, IntaglioError, NotAllowed, RequestRefused
from intaglio.ledger import writer
from intaglio.ledger.entry import Event
from intaglio.pki import text
from intaglio.service.act import Act, Seen
from intaglio.service.acting import Opens, acting_for, check_right, known_for, recorded_denial
from intaglio.service.acts import ACTS
from intaglio.service.home import Home
from intaglio.service.roster import locked
from intaglio.staff import approvals, register
from intaglio.staff.approvals import Approval, State, is_asked
from intaglio.staff.register import Known, Person
from intaglio.staff.rights import RIGHTS
from intaglio.staff.statement import Deed, Statement, encode, read, signed

LIFETIME = timedelta(days=7)
_MOST_REASON = 500


class Outcome(msgspec.Struct, frozen=True):
    """What became of an act: its `result` if it was carried out, the approval if there is one."""

    done: bool
    result: Any = None
    approval: Approval | None = None


# Two people --------------------------------------------------------------------------------------


def submit(home: Home, key: Opens | None, act: str, parameters: msgspec.Struct, now: datetime) -> Outcome:
    """Ask for an act: it waits for a second person, or is done at once where it is only for tests.

    1. what it would change is looked at; 2. who asks may; 3. it is tried, and taken back; 4. it waits, durably.
    Raises what the act itself would, `Unauthenticated`, `NotAllowed`.
    """
    plain = msgspec.to_builtins(parameters)
    found = ACTS[act]
    # 1
    with reading(home.engine) as connection:
        seen = found.look(home, connection, parameters, now)
        staffed = register.founded(connection)
    if not seen.guarded:
        return Outcome(done=True, result=msgspec.to_builtins(_carry_out(home, act, parameters, now)))
    if not staffed:
        raise NotAllowed(
            "This needs two people, and there is no staff yet.",
            {"staff": "two security officers found it: intaglio staff found --help"},
        )
    # 2
    known, opened = known_for(home, key, act, now)
    with recorded_denial(home, known, act, now):
        check_right(known, RIGHTS[act].asks, act, seen.account_id)
        # 3
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
    event = _event(approval, "approval.asked", signed(opened, _statement(approval, known, Deed.ASK, now)), now)
    with transaction(home.engine) as connection:
        approvals.add(connection, approval)
        acting_for(home, known.person.id).chain.append(connection, [event])
    return Outcome(done=False, approval=approval)


def approve(home: Home, key: Opens | None, approval_id: str, content: str, now: datetime) -> Outcome:
    """Agree to an act and have it carried out; `content` is the SHA-256 of what was looked at.

    1. it waits, is what was looked at, and things are as they were; 2. who decides is another person, with the right
    to; 3. the decision is durable, with the act's own entries where it can be; 4. what works outside of it is done.
    A refusal is recorded. Raises `NotAllowed`, `Conflict`, `Unauthenticated`, what the act itself raises.
    """
    expire(home, now)
    with reading(home.engine) as connection:
        approval = approvals.find(connection, approval_id)
    act = _act(approval)
    known, opened = known_for(home, key, approval.act, now)
    with recorded_denial(home, known, approval.act, now, approval), reading(home.engine) as connection:
        # 1, 2
        parameters = act.read(approval.parameters)
        _check_decision(connection, approval, known, content)
        _check_unchanged(approval, act.look(home, connection, parameters, now))
    event = _event(approval, "approval.approved", signed(opened, _statement(approval, known, Deed.APPROVE, now)), now)
    acting = acting_for(home, known.person.id, approval.id)
    # 3
    with recorded_denial(home, known, approval.act, now, approval), transaction(home.engine) as connection:
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
    with _alone_outside(home):
        return _do_outside(acting, agreed, parameters, now)


def carry_out(home: Home, key: Opens | None, approval_id: str, now: datetime) -> Outcome:
    """Try again what was agreed on and failed, within as long as it could wait; by any who may ask for it or decide.

    Raises `Conflict` when it was done, is over, or things have changed since it was asked for.
    """
    with _alone_outside(home):
        with reading(home.engine) as connection:
            approval = approvals.find(connection, approval_id)
        act, right = _act(approval), RIGHTS[approval.act]
        known, _ = known_for(home, key, approval.act, now)
        with recorded_denial(home, known, approval.act, now, approval), reading(home.engine) as connection:
            parameters = act.read(approval.parameters)
            check_right(known, right.asks | right.decides, approval.act, approval.account_id)
            if approval.state != State.APPROVED:
                raise Conflict(f"It is {approval.state}.", {"approval": "only what is agreed on and not done can be"})
            if approval.decided_at is None or now > approval.decided_at + LIFETIME:
                raise Conflict("It was agreed on too long ago.", {"approval": "refuse it, and ask again"})
            for person in (approval.asked_by, approval.decided_by or ""):
                _check_there(register.find(connection, person))
            _check_unchanged(approval, act.look(home, connection, parameters, now))
        return _do_outside(acting_for(home, known.person.id, approval.id), approval, parameters, now)


def refuse(home: Home, key: Opens | None, approval_id: str, reason: str, now: datetime) -> Approval:
    """Decide against an act, or take back one's own: for good, also what was agreed on and could not be done.

    Raises `NotAllowed`, `Conflict`, `ContentRefused` for a reason that cannot be recorded.
    """
    fault = text.fault_of_text(reason, _MOST_REASON)
    if fault is not None:
        raise ContentRefused("The reason cannot be recorded.", {"reason": fault})
    expire(home, now)
    with reading(home.engine) as connection:
        approval = approvals.find(connection, approval_id)
    known, opened = known_for(home, key, approval.act, now)
    with recorded_denial(home, known, approval.act, now, approval), transaction(home.engine) as connection:
        approval = approvals.find(connection, approval_id)
        own = approval.asked_by == known.person.id
        if not own:
            check_right(known, RIGHTS[approval.act].decides, approval.act, approval.account_id)
        if approval.state not in approvals.OPEN:
            raise Conflict(f"It is {approval.state}.", {"approval": "does not wait any more"})
        state, deed = (State.WITHDRAWN, Deed.WITHDRAW) if own else (State.REFUSED, Deed.REFUSE)
        refused = approvals.change(connection, approval, state, decided_by=known.person.id, now=now)
        details = {**signed(opened, _statement(approval, known, deed, now)), "reason": reason}
        event = _event(approval, f"approval.{state}", details, now)
        acting_for(home, known.person.id).chain.append(connection, [event])
    return refused


def expire(home: Home, now: datetime) -> None:
    """Have it on record that what nobody decided in time is over."""
    with transaction(home.engine) as connection:
        for approval in approvals.overdue(connection, now):
            approvals.change(connection, approval, State.EXPIRED)
            home.chain.append(connection, [_event(approval, "approval.expired", {}, now)])


def check_ceremony(home: Home, script: str, transcript: str | None) -> None:
    """Raise `NotAllowed` unless a ceremony by the script of this SHA-256 (hex) was agreed on, or there is no staff.

    What was agreed on is held once; `transcript` names the one that is gone on with.
    """
    with reading(home.engine) as connection:
        if not register.founded(connection):
            return
        begun = writer.bodies(connection, "ceremony.begun")
        if any(one.reference == transcript for one in begun if transcript is not None):
            return
        allowed = writer.count(connection, script, "ceremony.allowed")
        held = sum(one.details.get("script") == script for one in begun)
    if held >= allowed:
        raise NotAllowed(
            "Nobody has agreed to this ceremony.", {"script": "two people agree first: intaglio ceremony allow SCRIPT"}
        )


# What they share ---------------------------------------------------------------------------------


def _check_decision(connection: Connection, approval: Approval, known: Known, content: str) -> None:
    _check_waits(approval)
    if approval.content != content:
        raise Conflict(
            "This is not what was looked at.", {"sha256": f"look again: intaglio approvals show {approval.id}"}
        )
    if approval.asked_by == known.person.id:
        raise NotAllowed("Who asked cannot decide.", {"approval": "needs a second, different person"})
    check_right(known, RIGHTS[approval.act].decides, approval.act, approval.account_id)
    _check_there(register.find(connection, approval.asked_by))
    # The row is anybody's who has the database; what was asked for is what was signed.
    said = [read(details)[0] for details in writer.details(connection, approval.id, "approval.asked")]
    if len(said) != 1 or not is_asked(approval, said[0]):
        raise Conflict("This is not what was asked for.", {"approval": "the database was changed: refuse it"})


def _check_there(person: Person) -> None:
    if person.state != register.State.ACTIVE:
        raise Conflict(f"{person.name} is removed.", {"approval": "refuse it, and ask again"})


def _check_waits(approval: Approval) -> None:
    if approval.state != State.WAITING:
        raise Conflict(f"It is {approval.state}.", {"approval": "does not wait any more"})


def _check_unchanged(approval: Approval, seen: Seen) -> None:
    now, then = (seen.before, seen.after), (approval.before, approval.after)
    if encode(msgspec.to_builtins(now)) != encode(then):
        raise Conflict(
            "Things have changed since it was asked for.", {"approval": "refuse it, and ask again for what is wanted"}
        )


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


def _act(approval: Approval) -> Act:
    found = ACTS.get(approval.act)
    if found is None:
        raise Conflict("There is no such act.", {"act": f"{approval.act} is not known to this version"})
    return found


@contextmanager
def _alone_outside(home: Home) -> Iterator[None]:
    """Hold the right to carry out, so that nothing is done twice; raises `Conflict` while another process does."""
    with locked(home.path / "approvals.lock", "Another approval is being carried out: try again when it is done."):
        yield
