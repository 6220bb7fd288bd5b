"""Whether everything that needed two people had them, from the ledger alone.

The entries say who was taken in with which key; every request, decision and act of one person is held against those
keys, and every act that needs two against a decision. Whoever owns the machine can write entries, but not a person's
signature: what has to be believed is the founders' keys, which auditors compare with what the founders say they are.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key

from intaglio.errors import ContentRefused
from intaglio.ledger.retention import PRUNED, is_prunable
from intaglio.ledger.writer import Recorded
from intaglio.staff.approvals import State
from intaglio.staff.guarded import LOOKED_AT, Guard
from intaglio.staff.replayed import Body, Done, Finding, Founder, Replayed
from intaglio.staff.rights import OF_AN_ACCOUNT, RIGHTS, Role
from intaglio.staff.signature import PersonKey, fingerprint, is_sound
from intaglio.staff.statement import Deed, Statement, check_signature, content_hash, read

# Between signing and being written.
_TOLERANCE = timedelta(minutes=5)
_KINDS = ("staff.", "approval.")
# What there is none of before there are people.
_OF_STAFF = (*_KINDS, PRUNED)


class _Certificate(msgspec.Struct, frozen=True):
    key: PersonKey
    not_before: datetime
    not_after: datetime


class _Member:
    """A person as the entries so far have it."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.roles = frozenset(map(Role, told["roles"]))
        self.account: str | None = told["account"]
        self.certificates: dict[str, _Certificate] = {}
        self.active = True

    @property
    def keys(self) -> set[str]:
        """The fingerprints of the person's keys."""
        return {fingerprint(one.key) for one in self.certificates.values()}


class _Replay:
    def __init__(self) -> None:
        self.founders: list[Founder] = []
        self.people: dict[str, _Member] = {}
        self.asked: dict[str, Statement] = {}
        self.states: dict[str, State] = {}
        self.done: dict[str, list[Done]] = {}
        self.guard = Guard()
        self.signatures: set[bytes] = set()
        self.acts = 0
        self._kinds: dict[str, Callable[[Body], object]] = {
            "staff.founded": self._found,
            "staff.refounded": self._found,
            "staff.enrolled": lambda body: self._take_in(body.details),
            "staff.renewed": lambda body: self._renew(body.details),
            "staff.removed": self._leave,
            "staff.acted": self._act,
            "approval.asked": self._ask,
            "approval.approved": self._agree,
            "approval.done": self._finish,
            "approval.refused": lambda body: self._end(body, Deed.REFUSE, State.REFUSED),
            "approval.withdrawn": lambda body: self._end(body, Deed.WITHDRAW, State.WITHDRAWN),
            "approval.expired": self._expire,
            "certificate.revoked": self._revoke,
        }

    def entry(self, body: Body, place: str) -> None:
        """Take in an entry; raises `ContentRefused` when it should not be there."""
        founding = body.kind in {"staff.founded", "staff.refounded"}
        if body.kind.startswith(_OF_STAFF) and not self.founders and not founding:
            raise ContentRefused("there is no staff yet")
        if self.guard.needs_two(body, staffed=bool(self.founders)):
            self._hold(body, place)
        if body.kind in self._kinds:
            self._kinds[body.kind](body)

    def _hold(self, body: Body, place: str) -> None:
        """Hold an act against the decision that it says it was done under."""
        approval = body.approval or ""
        asked = self.asked.get(approval)
        if asked is None or self.states[approval] != State.APPROVED:
            raise ContentRefused("nobody agreed to it, or it was done already")
        if body.kind not in RIGHTS[asked.act].records:
            raise ContentRefused(f"what was agreed to is {asked.act}")
        if asked.account not in {None, body.account_id}:
            raise ContentRefused("what was agreed to is for another account")
        done = self.done.setdefault(approval, [])
        # A list may revoke several at once.
        if body.kind != "certificate.revoked" and any(one.kind == body.kind for one in done):
            raise ContentRefused("it was agreed to once")
        done.append(Done(place, body.kind, body.reference, body.details))

    # People ------------------------------------------------------------------------------------

    def _found(self, body: Body) -> None:
        again = body.kind == "staff.refounded"
        if bool(self.founders) != again:
            raise ContentRefused("the staff was founded before" if self.founders else "there is no staff yet")
        for told in body.details["people"]:
            key = self._take_in(told)
            self.founders.append(Founder(told["name"], fingerprint(key), body.at, again))

    def _take_in(self, told: Mapping[str, Any]) -> PersonKey:
        if told["person"] in self.people:
            raise ContentRefused("the person is there already")
        member = _Member(told)
        key = self._certificate(member, told)
        self.people[told["person"]] = member
        return key

    def _certificate(self, member: _Member, told: Mapping[str, Any]) -> PersonKey:
        key: Any = load_der_public_key(base64.b64decode(told["key"]))
        if isinstance(key, ed25519.Ed25519PublicKey) and not is_sound(key):
            raise ContentRefused("the key is one that everybody can sign for")
        for other in self.people.values():
            if told["certificate"] in other.certificates or (other is not member and fingerprint(key) in other.keys):
                raise ContentRefused("the key is that of somebody else")
        begin, end = (datetime.fromisoformat(told[field]) for field in ("not_before", "not_after"))
        member.certificates[told["certificate"]] = _Certificate(key, begin, end)
        return key  # type: ignore[no-any-return]

    def _renew(self, told: Mapping[str, Any]) -> None:
        member = self._member(told["person"])
        if fingerprint(load_der_public_key(base64.b64decode(told["key"]))) not in member.keys:  # type: ignore[arg-type]
            raise ContentRefused("a renewal is for the same key")
        self._certificate(member, told)

    def _leave(self, body: Body) -> None:
        if body.reference != body.details["person"]:
            raise ContentRefused("it is of two people")
        self._member(body.details["person"]).active = False

    def _revoke(self, body: Body) -> None:
        for member in self.people.values():
            if body.details.get("issuer") == "officers":
                member.certificates.pop(body.reference or "", None)

    def _member(self, person: str) -> _Member:
        found = self.people.get(person)
        if found is None:
            raise ContentRefused("the person is unknown")
        return found

    # What people say ---------------------------------------------------------------------------

    def _signed(self, body: Body, deed: Deed, roles: Callable[[str], frozenset[Role]]) -> Statement:
        """Return the statement of an entry, signed then by somebody who had the right to it."""
        statement, content, signature = read(body.details)
        if statement.deed != deed or statement.act not in RIGHTS:
            raise ContentRefused(f"the statement says {statement.deed} {statement.act}")
        member = self._member(statement.person)
        known = member.certificates.get(statement.certificate)
        if known is None or not member.active:
            raise ContentRefused("the person had no such certificate, or was removed")
        if not known.not_before <= statement.at <= known.not_after:
            raise ContentRefused("the certificate was not valid then")
        if abs(statement.at - body.at) > _TOLERANCE:
            raise ContentRefused("it was signed at another time")
        check_signature(known.key, content, signature)
        if content in self.signatures:
            raise ContentRefused("the statement was there before")
        self.signatures.add(content)
        having = member.roles & roles(statement.act)
        if not having or (having <= OF_AN_ACCOUNT and statement.account != member.account):
            raise ContentRefused("the person had no right to it")
        return statement

    def _act(self, body: Body) -> None:
        statement = self._signed(body, Deed.DO, lambda act: RIGHTS[act].asks)
        if RIGHTS[statement.act].decides:
            raise ContentRefused("one person is not enough for it")
        if statement.content != content_hash(body.details.get("about")) or statement.account != body.account_id:
            raise ContentRefused("what was signed is something else")
        self.acts += 1

    def _ask(self, body: Body) -> None:
        statement = self._signed(body, Deed.ASK, lambda act: RIGHTS[act].asks)
        if statement.approval != body.reference or body.reference is None or body.reference in self.asked:
            raise ContentRefused("the statement is of another approval")
        self.asked[body.reference] = statement
        self.states[body.reference] = State.WAITING

    def _agree(self, body: Body) -> None:
        statement = self._signed(body, Deed.APPROVE, lambda act: RIGHTS[act].decides)
        asked = self._waiting(body, statement, {State.WAITING})
        if statement.person == asked.person:
            raise ContentRefused("one person asked and decided")
        if not self._member(asked.person).active:
            raise ContentRefused("who asked was removed")
        if asked.expires is None or body.at > asked.expires or statement.at > asked.expires:
            raise ContentRefused("it was over")
        self.states[body.reference or ""] = State.APPROVED

    def _waiting(self, body: Body, statement: Statement, states: set[State]) -> Statement:
        asked = self.asked.get(body.reference or "")
        if asked is None or statement.approval != body.reference:
            raise ContentRefused("nobody asked for it")
        if self.states[body.reference or ""] not in states:
            raise ContentRefused("it was decided before")
        if (statement.act, statement.content, statement.expires) != (asked.act, asked.content, asked.expires):
            raise ContentRefused("what was decided on is not what was asked for")
        return asked

    def _end(self, body: Body, deed: Deed, state: State) -> None:
        everybody = frozenset(Role)
        statement = self._signed(body, deed, lambda act: RIGHTS[act].decides if deed == Deed.REFUSE else everybody)
        asked = self._waiting(body, statement, {State.WAITING, State.APPROVED})
        if deed == Deed.WITHDRAW and statement.person != asked.person:
            raise ContentRefused("it was somebody else's")
        self.states[body.reference or ""] = state

    def _finish(self, body: Body) -> None:
        if self.states.get(body.reference or "") != State.APPROVED:
            raise ContentRefused("nobody agreed to it")
        self.states[body.reference or ""] = State.DONE

    def _expire(self, body: Body) -> None:
        asked = self.asked.get(body.reference or "")
        if asked is None or asked.expires is None or body.at < asked.expires:
            raise ContentRefused("it was not over")
        self.states[body.reference or ""] = State.EXPIRED


def replay(entries: Iterable[Recorded], chain: str) -> Replayed:
    """Return what the entries, in their order, say; everything that does not hold is among the findings.

    People and what needs two of them are in one `chain`, so that their order is known: anywhere else they are findings.
    """
    state = _Replay()
    findings = list(_findings(state, entries, chain))
    return Replayed(
        founders=state.founders,
        people={person: member.active for person, member in state.people.items()},
        approvals=len(state.asked),
        acts=state.acts,
        findings=findings,
        asked=state.asked,
        states=state.states,
        done=state.done,
        accounts=state.guard.accounts,
        policies=state.guard.policies,
        mechanisms=state.guard.mechanisms,
    )


def _findings(state: _Replay, entries: Iterable[Recorded], chain: str) -> Iterator[Finding]:
    for recorded in entries:
        if not recorded.kind.startswith((*_KINDS, *LOOKED_AT)):
            continue
        # What may lose its body says nothing here, as that the key of an identity was destroyed; that nothing else has
        # lost it is for `ledger verify`.
        place = f"{recorded.chain}/{recorded.sequence}"
        try:
            prunable = is_prunable(recorded.kind, recorded.body)
        except ValueError as error:
            yield Finding(place, recorded.kind, f"cannot be read: {error}")
            continue
        if prunable:
            continue
        if recorded.chain != chain:
            yield Finding(place, recorded.kind, f"is in another chain than {chain}")
            continue
        try:
            state.entry(msgspec.json.decode(recorded.body, type=Body), place)
        except ContentRefused as error:
            reasons = "; ".join(error.fields.values())
            yield Finding(place, recorded.kind, f"{error}{f' ({reasons})' if reasons else ''}")
        except (KeyError, ValueError, TypeError) as error:
            yield Finding(place, recorded.kind, f"cannot be read: {error}")
