"""The ledger alone shows who agreed to what: whatever is done without two people, or forged, is found and named."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection

from intaglio.accounts.kinds import Kind
from intaglio.database.engine import transaction
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service import oversight, staffing
from intaglio.service.acts import ACTS, CreateAccount
from intaglio.service.home import Home
from intaglio.staff import register
from intaglio.staff.register import Person
from intaglio.staff.replay import GUARDED
from intaglio.staff.rights import RIGHTS, Role
from intaglio.staff.signature import SecretKey
from intaglio.staff.statement import Deed, signed
from onboarded import small_home

NOW = datetime.now(UTC)
ACCOUNT = CreateAccount("A", Kind.INDIVIDUAL, Hierarchy.PRODUCTION, None, None, {})


class People:
    """A home with two security officers and two vetting officers, and their keys."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.keys = {name: ed25519.Ed25519PrivateKey.generate() for name in ("ann", "bob", "vera", "vito")}
        founders = [(name, csr(self.keys[name])) for name in ("ann", "bob")]
        self.ids = {one.name: one.id for one in staffing.found(home, founders, NOW)}
        for name in ("vera", "vito"):
            asked = staffing.Enrolment(name, (Role.VETTING_OFFICER,), csr(self.keys[name]))
            self.ids[name] = self.agreed("staff.enrol", asked, "ann", "bob")["person"]

    def agreed(self, act: str, parameters: msgspec.Struct, asks: str, decides: str) -> dict[str, str]:
        waiting = oversight.submit(self.home, self.keys[asks], act, parameters, NOW).approval
        assert waiting is not None
        outcome = oversight.approve(self.home, self.keys[decides], waiting.id, waiting.content, NOW)
        found: dict[str, str] = outcome.result
        return found

    def forge(self, *events: Event, actor: str = "os:root", approval: str | None = None) -> None:
        with transaction(self.home.engine) as connection:
            Chain(actor, "main", approval).append(connection, events)

    def reasons(self) -> list[str]:
        return [one.reason for one in oversight.audit(self.home).findings]


def csr(key: SecretKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, None)
    return made.public_bytes(Encoding.PEM).decode()


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    home = small_home(tmp_path / "home")
    yield People(home)
    home.close()


def test_what_two_people_did_holds(people: People) -> None:
    assert people.agreed("account.create", ACCOUNT, "vera", "vito")["name"] == "A"
    found = oversight.audit(people.home)
    assert (found.findings, found.approvals, found.people) == ([], 3, 4)
    assert [one.name for one in found.founders] == ["ann", "bob"]


def created(name: str = "A") -> Event:
    details = {"name": name, "kind": "individual", "hierarchy": "production", "organization": None, "country": None}
    return Event(NOW, "account.created", "f" * 32, None, None, {**details, "quotas": {}})


def test_an_act_that_nobody_agreed_to_is_found(people: People) -> None:
    people.forge(created())
    people.forge(created(), approval="0" * 32)
    assert people.reasons() == ["nobody agreed to it, or it was done already"] * 2


def test_an_approval_serves_once_and_for_what_was_agreed_to(people: People) -> None:
    people.agreed("account.create", ACCOUNT, "vera", "vito")
    asked = oversight.audit(people.home).asked
    approval = next(one for one, statement in asked.items() if statement.act == "account.create")
    people.forge(created("B"), approval=approval)
    assert people.reasons() == ["nobody agreed to it, or it was done already"]


def test_another_content_than_agreed_to_is_found(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns the machine carries out something else under a true approval."""
    act = ACTS["account.create"]
    create = act.inside
    assert create is not None
    other = msgspec.structs.replace(ACCOUNT, name="Mallory")

    def inside(home: Home, connection: Connection, _asked: CreateAccount, now: datetime) -> object:
        return create(home, connection, other, now)

    monkeypatch.setattr(oversight, "ACTS", {**ACTS, "account.create": msgspec.structs.replace(act, inside=inside)})
    people.agreed("account.create", ACCOUNT, "vera", "vito")
    monkeypatch.undo()
    assert people.reasons() == ["what was done is not what was agreed to"]


def statement(people: People, deed: Deed, who: str, **changes: object) -> dict[str, str]:
    asked = next(one for one in oversight.audit(people.home).asked.values() if one.act == "account.create")
    with transaction(people.home.engine) as connection:
        known = register.identify(connection, people.keys[who].public_key(), NOW)
    made = msgspec.structs.replace(asked, deed=deed, person=known.person.id, certificate=known.certificate)
    return signed(people.keys[who], msgspec.structs.replace(made, **changes))


FORGERIES: dict[str, tuple[Callable[[People], dict[str, str]], str]] = {
    "one person decides on their own": (lambda p: statement(p, Deed.APPROVE, "vera"), "one person asked and decided"),
    "without the right": (lambda p: statement(p, Deed.APPROVE, "ann"), "the person had no right to it"),
    "other content": (
        lambda p: statement(p, Deed.APPROVE, "vito", content="0" * 64),
        "what was agreed to is not what was asked for",
    ),
    "another's name": (
        lambda p: statement(p, Deed.APPROVE, "ann", person=p.ids["vito"]),
        "the person had no such certificate, or was removed",
    ),
    "a longer life": (
        lambda p: statement(p, Deed.APPROVE, "vito", expires=NOW + timedelta(days=99)),
        "what was agreed to is not what was asked for",
    ),
    "a refusal taken for consent": (
        lambda p: statement(p, Deed.REFUSE, "vito"),
        "the statement says refuse account.create",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_decision_that_is_none_is_found(people: People, forgery: str) -> None:
    waiting = oversight.submit(people.home, people.keys["vera"], "account.create", ACCOUNT, NOW).approval
    assert waiting is not None
    make, reason = FORGERIES[forgery]
    people.forge(Event(NOW, "approval.approved", None, waiting.id, None, {"act": waiting.act, **make(people)}))
    people.forge(created(), approval=waiting.id)
    assert people.reasons() == [reason, "nobody agreed to it, or it was done already"]


def test_a_signature_of_somebody_else_is_found(people: People) -> None:
    waiting = oversight.submit(people.home, people.keys["vera"], "account.create", ACCOUNT, NOW).approval
    assert waiting is not None
    true = statement(people, Deed.APPROVE, "vito")
    forged = {**true, "signature": statement(people, Deed.APPROVE, "ann")["signature"]}
    people.forge(Event(NOW, "approval.approved", None, waiting.id, None, {"act": waiting.act, **forged}))
    assert people.reasons() == ["The statement is not signed by this key. (does not hold)"]


def test_people_whom_nobody_took_in_are_found(people: People) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    told = staffing._told(
        Person("0" * 32, "mallory", (Role.SECURITY_OFFICER,), None, register.State.ACTIVE, NOW),
        key.public_key(),
        people.home.certificate("officers"),
    )
    people.forge(Event(NOW, "staff.enrolled", None, "0" * 32, None, told))
    people.forge(Event(NOW, "staff.founded", None, None, None, {"people": [told]}))
    found = oversight.audit(people.home)
    assert len(found.findings) == 2
    assert found.people == 4
    # To found again is possible, and never unseen.
    people.forge(Event(NOW, "staff.refounded", None, None, None, {"people": [told]}))
    assert [one.again for one in oversight.audit(people.home).founders] == [False, False, True]


def test_every_act_that_waits_can_be_carried_out_and_the_other_way_round() -> None:
    assert {name for name, right in RIGHTS.items() if right.decides} == set(ACTS)
    assert {"account.created", "account.resumed", "policy.set", "staff.enrolled"} <= GUARDED
