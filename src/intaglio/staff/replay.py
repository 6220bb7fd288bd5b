"""Whether everything that needed two people had them, from the ledger alone.

The entries say who was taken in with which key; every request and decision is held against those keys, and every act
that needs a decision against a decision. Whoever owns the machine can write entries, but not a person's signature: what
has to be believed is the founders' keys, which auditors compare with what the founders say they are.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from intaglio.errors import ContentRefused
from intaglio.ledger.writer import Recorded
from intaglio.staff.rights import OF_AN_ACCOUNT, RIGHTS, Right, Role
from intaglio.staff.signature import PersonKey, fingerprint
from intaglio.staff.statement import Deed, Statement, check_signature, read

GUARDED = frozenset(kind for right in RIGHTS.values() for kind in right.records)
# Of these only what is of production needs anybody.
_OF_ACCOUNTS = frozenset(
    {"account.created", "account.resumed", "policy.set", "profile.chosen", "mechanism.approved", "mechanism.resumed"}
)


class Finding(msgspec.Struct, frozen=True):
    """An entry (`chain/sequence`) that is not as it should be, and why."""

    entry: str
    kind: str
    reason: str


class Founder(msgspec.Struct, frozen=True):
    """Whom everything is believed because of: `key_sha256` is over the SubjectPublicKeyInfo, hex."""

    name: str
    key_sha256: str
    at: datetime
    again: bool


class Done(msgspec.Struct, frozen=True):
    """What was done under an approval: an entry's place, kind and details."""

    entry: str
    kind: str
    details: dict[str, Any]


class Replayed(msgspec.Struct, frozen=True):
    """What the ledger says of people and approvals.

    `asked` are the statements by approval, `done` what was done under each: the entry's place, its kind and details.
    """

    founders: list[Founder]
    people: int
    approvals: int
    acts: int
    findings: list[Finding]
    asked: dict[str, Statement]
    done: dict[str, list[Done]]


class _Body(msgspec.Struct, frozen=True):
    at: datetime
    actor: str
    kind: str
    account_id: str | None
    reference: str | None
    details: dict[str, Any]
    approval: str | None = None


class _Member:
    """A person as the entries so far have it."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.roles = frozenset(map(Role, told["roles"]))
        self.account: str | None = told["account"]
        self.keys: dict[str, PersonKey] = {}
        self.active = True


class _Replay:
    def __init__(self) -> None:
        self.founders: list[Founder] = []
        self.people: dict[str, _Member] = {}
        self.asked: dict[str, Statement] = {}
        self.agreed: dict[str, str] = {}
        self.closed: set[str] = set()
        self.done: dict[str, list[Done]] = {}
        self.tests: set[str] = set()
        self.acts = 0
        self._kinds: dict[str, Callable[[_Body], object]] = {
            "staff.founded": self._found,
            "staff.refounded": self._found,
            "staff.enrolled": lambda body: self._take_in(body.details),
            "staff.renewed": lambda body: self._renew(body.details),
            "staff.removed": self._leave,
            "staff.acted": self._act,
            "approval.asked": self._ask,
            "approval.approved": self._agree,
            "approval.done": lambda body: self.agreed.pop(body.reference or "", None),
            "approval.refused": self._close,
            "approval.withdrawn": self._close,
            "approval.expired": self._close,
        }

    def entry(self, body: _Body, place: str) -> None:
        """Take in an entry; raises `ContentRefused` when it should not be there."""
        if body.kind == "account.created" and body.details.get("hierarchy") == "test":
            self.tests.add(body.account_id or "")
        self._guard(body, place)
        if body.kind in self._kinds:
            self._kinds[body.kind](body)

    def _guard(self, body: _Body, place: str) -> None:
        if not self.founders or body.kind not in GUARDED:
            return
        if body.kind in _OF_ACCOUNTS and body.account_id in self.tests:
            return
        approval = body.approval or ""
        act = self.agreed.get(approval)
        if act is None:
            raise ContentRefused("nobody agreed to it, or it was done already")
        if body.kind not in RIGHTS[act].records:
            raise ContentRefused(f"what was agreed to is {act}")
        if self.asked[approval].account not in {None, body.account_id}:
            raise ContentRefused("what was agreed to is for another account")
        done = self.done.setdefault(approval, [])
        if any(one.kind == body.kind for one in done):
            raise ContentRefused("it was agreed to once")
        done.append(Done(place, body.kind, body.details))

    def _found(self, body: _Body) -> None:
        again = body.kind == "staff.refounded"
        if self.founders and not again:
            raise ContentRefused("the staff was founded before")
        for told in body.details["people"]:
            key = self._take_in(told)
            self.founders.append(Founder(told["name"], fingerprint(key), body.at, again))

    def _leave(self, body: _Body) -> None:
        self._member(body.reference or "").active = False

    def _close(self, body: _Body) -> None:
        self.closed.add(body.reference or "")

    def _take_in(self, told: Mapping[str, Any]) -> PersonKey:
        key: Any = load_der_public_key(base64.b64decode(told["key"]))
        if any(fingerprint(key) == fingerprint(other) for one in self.people.values() for other in one.keys.values()):
            raise ContentRefused("the key is that of somebody else")
        member = self.people.setdefault(told["person"], _Member(told))
        member.keys[told["certificate"]] = key
        return key  # type: ignore[no-any-return]

    def _renew(self, told: Mapping[str, Any]) -> None:
        member = self._member(told["person"])
        key: Any = load_der_public_key(base64.b64decode(told["key"]))
        if fingerprint(key) not in {fingerprint(one) for one in member.keys.values()}:
            raise ContentRefused("a renewal is for the same key")
        member.keys[told["certificate"]] = key

    def _member(self, person: str) -> _Member:
        found = self.people.get(person)
        if found is None:
            raise ContentRefused("the person is unknown")
        return found

    def _signed(self, body: _Body, deed: Deed, rights: str) -> Statement:
        """Return the statement of an entry, signed by somebody who had the right to it."""
        statement, content, signature = read(body.details)
        if statement.deed != deed or statement.act not in RIGHTS:
            raise ContentRefused(f"the statement says {statement.deed} {statement.act}")
        member = self._member(statement.person)
        key = member.keys.get(statement.certificate)
        if key is None or not member.active:
            raise ContentRefused("the person had no such certificate, or was removed")
        check_signature(key, content, signature)
        right: Right = RIGHTS[statement.act]
        having = member.roles & (right.asks if rights == "asks" else right.decides)
        if not having or (having <= OF_AN_ACCOUNT and statement.account != member.account):
            raise ContentRefused("the person had no right to it")
        return statement

    def _act(self, body: _Body) -> None:
        statement = self._signed(body, Deed.DO, "asks")
        if RIGHTS[statement.act].decides:
            raise ContentRefused("one person is not enough for it")
        self.acts += 1

    def _ask(self, body: _Body) -> None:
        statement = self._signed(body, Deed.ASK, "asks")
        if statement.approval != body.reference or body.reference is None or body.reference in self.asked:
            raise ContentRefused("the statement is of another approval")
        self.asked[body.reference] = statement

    def _agree(self, body: _Body) -> None:
        statement = self._signed(body, Deed.APPROVE, "decides")
        asked = self.asked.get(body.reference or "")
        if asked is None or statement.approval != body.reference or body.reference is None:
            raise ContentRefused("nobody asked for it")
        if body.reference in self.closed:
            raise ContentRefused("it was decided before")
        if statement.person == asked.person:
            raise ContentRefused("one person asked and decided")
        if (statement.act, statement.content, statement.expires) != (asked.act, asked.content, asked.expires):
            raise ContentRefused("what was agreed to is not what was asked for")
        if asked.expires is None or body.at > asked.expires:
            raise ContentRefused("it was over")
        self.closed.add(body.reference)
        self.agreed[body.reference] = statement.act


def replay(entries: Iterable[Recorded]) -> Replayed:
    """Return what the entries, in their order, say; everything that does not hold is among the findings."""
    state = _Replay()
    findings = list(_findings(state, entries))
    return Replayed(state.founders, len(state.people), len(state.asked), state.acts, findings, state.asked, state.done)


def _findings(state: _Replay, entries: Iterable[Recorded]) -> Iterator[Finding]:
    for recorded in entries:
        if not recorded.kind.startswith(("staff.", "approval.")) and recorded.kind not in GUARDED:
            continue
        place = f"{recorded.chain}/{recorded.sequence}"
        try:
            state.entry(msgspec.json.decode(recorded.body, type=_Body), place)
        except ContentRefused as error:
            reasons = "; ".join(error.fields.values())
            yield Finding(place, recorded.kind, f"{error}{f' ({reasons})' if reasons else ''}")
        except (KeyError, ValueError, TypeError) as error:
            yield Finding(place, recorded.kind, f"cannot be read: {error}")
