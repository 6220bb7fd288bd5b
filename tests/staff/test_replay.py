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
from sqlalchemy import Connection, text, update

from intaglio.accounts.kinds import Kind
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, KeyUnavailable, NotAllowed
from intaglio.ledger import writer
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain, ledger
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service import oversight, staffing
from intaglio.service.acting import Opens, alone
from intaglio.service.acts import ACTS, CreateAccount, HoldCeremony, RenewMember
from intaglio.service.audit import audit
from intaglio.service.home import Home
from intaglio.staff import register
from intaglio.staff.approvals import Approval, approvals
from intaglio.staff.guarded import GUARDED
from intaglio.staff.register import Person
from intaglio.staff.rights import RIGHTS, Role
from intaglio.staff.signature import SecretKey, is_sound
from intaglio.staff.statement import Deed, signed
from onboarded import small_home

# Later than the homes that are made below.
NOW = datetime.now(UTC) + timedelta(hours=1)
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
        waiting = self.asked(act, parameters, asks)
        outcome = oversight.approve(self.home, self.opens(decides), waiting.id, waiting.content, NOW)
        found: dict[str, str] = outcome.result
        return found

    def asked(self, act: str, parameters: msgspec.Struct, asks: str) -> Approval:
        waiting = oversight.submit(self.home, self.opens(asks), act, parameters, NOW).approval
        assert waiting is not None
        return waiting

    def opens(self, name: str) -> Opens:
        return lambda: self.keys[name]

    def forge(self, *events: Event, actor: str = "os:root", approval: str | None = None) -> None:
        with transaction(self.home.engine) as connection:
            Chain(actor, "main", approval).append(connection, events)

    def reasons(self) -> list[str]:
        return [one.reason for one in audit(self.home).findings]


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
    found = audit(people.home)
    assert (found.findings, found.approvals, len(found.people)) == ([], 3, 4)
    assert [one.name for one in found.founders] == ["ann", "bob"]


def created(name: str = "A") -> Event:
    details = {"name": name, "kind": "individual", "hierarchy": "production", "organization": None, "country": None}
    return Event(NOW, "account.created", "f" * 32, None, None, {**details, "quotas": {}})


def test_an_act_that_nobody_agreed_to_is_found(people: People) -> None:
    people.forge(created())
    people.forge(msgspec.structs.replace(created(), account_id="e" * 32), approval="0" * 32)
    assert people.reasons() == ["nobody agreed to it, or it was done already"] * 2


def test_an_approval_serves_once_and_for_what_was_agreed_to(people: People) -> None:
    people.agreed("account.create", ACCOUNT, "vera", "vito")
    asked = audit(people.home).asked
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
    asked = next(one for one in audit(people.home).asked.values() if one.act == "account.create")
    with transaction(people.home.engine) as connection:
        known = register.identify(connection, people.keys[who].public_key(), NOW)
    made = msgspec.structs.replace(asked, deed=deed, person=known.person.id, certificate=known.certificate)
    return signed(people.keys[who], msgspec.structs.replace(made, **changes))


FORGERIES: dict[str, tuple[Callable[[People], dict[str, str]], str]] = {
    "one person decides on their own": (lambda p: statement(p, Deed.APPROVE, "vera"), "one person asked and decided"),
    "without the right": (lambda p: statement(p, Deed.APPROVE, "ann"), "the person had no right to it"),
    "other content": (
        lambda p: statement(p, Deed.APPROVE, "vito", content="0" * 64),
        "what was decided on is not what was asked for",
    ),
    "another's name": (
        lambda p: statement(p, Deed.APPROVE, "ann", person=p.ids["vito"]),
        "the person had no such certificate, or was removed",
    ),
    "a longer life": (
        lambda p: statement(p, Deed.APPROVE, "vito", expires=NOW + timedelta(days=99)),
        "what was decided on is not what was asked for",
    ),
    "a refusal taken for consent": (
        lambda p: statement(p, Deed.REFUSE, "vito"),
        "the statement says refuse account.create",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_decision_that_is_none_is_found(people: People, forgery: str) -> None:
    waiting = people.asked("account.create", ACCOUNT, "vera")
    make, reason = FORGERIES[forgery]
    people.forge(Event(NOW, "approval.approved", None, waiting.id, None, {"act": waiting.act, **make(people)}))
    people.forge(created(), approval=waiting.id)
    assert people.reasons() == [reason, "nobody agreed to it, or it was done already"]


def test_a_signature_of_somebody_else_is_found(people: People) -> None:
    waiting = people.asked("account.create", ACCOUNT, "vera")
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
    found = audit(people.home)
    assert len(found.findings) == 2
    assert len(found.people) == 4
    # To found again is possible, and never unseen.
    people.forge(Event(NOW, "staff.refounded", None, None, None, {"people": [told]}))
    assert [one.again for one in audit(people.home).founders] == [False, False, True]


def test_a_chain_beside_and_entries_before_the_founding_serve_nobody(tmp_path: Path) -> None:
    home = small_home(tmp_path / "home")
    key = ed25519.Ed25519PrivateKey.generate()
    founding = [(name, csr(ed25519.Ed25519PrivateKey.generate())) for name in ("ann", "bob")]
    staffing.ensure_authority(home, NOW)
    person = Person("0" * 32, "mallory", (Role.VETTING_OFFICER,), None, register.State.ACTIVE, NOW)
    told = staffing._told(person, key.public_key(), home.certificate("officers"))
    with transaction(home.engine) as connection:
        Chain("os:root").append(connection, [Event(NOW, "staff.enrolled", None, "0" * 32, None, told)])
    staffing.found(home, founding, NOW)
    with transaction(home.engine) as connection:
        Chain("os:root", "a").append(connection, [created(), Event(NOW, "staff.enrolled", None, "1" * 32, None, told)])
    found = audit(home)
    assert sorted(one.reason for one in found.findings) == [
        "is in another chain than main",
        "is in another chain than main",
        "there is no staff yet",
    ]
    assert len(found.people) == 2
    home.close()


def test_an_account_does_not_become_one_for_tests(people: People) -> None:
    account = people.agreed("account.create", ACCOUNT, "vera", "vito")["account_id"]
    details = {"name": "A", "hierarchy": "test"}
    policy = Event(NOW, "policy.set", account, None, None, {"version": 2, "sha256": "0" * 64})
    people.forge(Event(NOW, "account.created", account, None, None, details), policy)
    reasons = people.reasons()
    assert reasons[:2] == ["there is such an account already", "nobody agreed to it, or it was done already"]
    assert reasons[2] == "is another in the database than the last one put in force"


def test_what_the_database_says_otherwise_is_found(people: People) -> None:
    made = oversight.submit(
        people.home, None, "account.create", msgspec.structs.replace(ACCOUNT, hierarchy=Hierarchy.TEST), NOW
    ).result
    waiting = people.asked("account.create", ACCOUNT, "vera")
    with transaction(people.home.engine) as connection:
        connection.execute(
            text("UPDATE accounts SET hierarchy = 'production' WHERE id = :id"), {"id": made["account_id"]}
        )
        connection.execute(text("UPDATE approvals SET state = 'done' WHERE id = :id"), {"id": waiting.id})
        connection.execute(text("UPDATE staff SET state = 'removed' WHERE name = 'vito'"))
    assert {one.entry for one in audit(people.home).findings} == {
        made["account_id"],
        waiting.id,
        people.ids["vito"],
    }


def test_authorities_are_guarded(people: People) -> None:
    """A CA that is revoked, a new member, a renewal, a ceremony: each without anybody's agreement."""
    issuing = f"{people.home.certificate('issuing').serial_number:x}"
    revoked = {"issuer": "root", "serial": issuing, "reason": "unspecified"}
    people.forge(
        Event(NOW, "certificate.revoked", None, issuing, None, revoked),
        Event(NOW, "certificate.issued", None, "1234", None, {"issuer": "root", "member": "tsa"}),
        Event(NOW, "authority.activated", None, "other", None, {"member": "other"}),
        Event(NOW, "ceremony.begun", None, "5678", None, {"script": "0" * 64, "head": ""}),
        Event(NOW, "certificate.issued", None, "1235", None, {"issuer": "test-root", "member": "test-tsa"}),
        Event(NOW, "certificate.issued", None, "1236", None, {"issuer": "server", "member": "tls"}),
    )
    nobody = "nobody agreed to it, or it was done already"
    assert people.reasons() == [nobody, nobody, nobody, "nobody agreed to this ceremony"]
    assert people.agreed("authority.renew", RenewMember("tsa"), "ann", "bob")["name"] == "tsa"
    assert len(people.reasons()) == 4


def test_a_ceremony_is_held_once_for_each_time_it_was_agreed_to(people: People) -> None:
    script = "5" * 64
    with pytest.raises(NotAllowed):
        oversight.check_ceremony(people.home, script, None)
    people.agreed("authority.ceremony", HoldCeremony(script, "t"), "ann", "bob")
    oversight.check_ceremony(people.home, script, None)
    people.forge(Event(NOW, "ceremony.begun", None, "77", None, {"script": script, "head": ""}))
    oversight.check_ceremony(people.home, script, "77")
    for transcript in (None, "78"):
        with pytest.raises(NotAllowed):
            oversight.check_ceremony(people.home, script, transcript)
    assert people.reasons() == []


def test_one_person_is_taken_in_once_and_leaves_by_name(people: People) -> None:
    stranger = ed25519.Ed25519PrivateKey.generate()
    asked = staffing.Enrolment("otto", (Role.OPERATOR,), csr(stranger))
    otto = people.agreed("staff.enrol", asked, "ann", "bob")["person"]
    person = Person(people.ids["vito"], "vito", (Role.VETTING_OFFICER,), None, register.State.ACTIVE, NOW)
    told = staffing._told(person, stranger.public_key(), people.home.certificate("officers"))
    people.forge(Event(NOW, "staff.renewed", None, person.id, None, told))
    people.forge(Event(NOW, "staff.removed", None, person.id, None, {"person": otto, "name": "otto"}))
    assert people.reasons() == ["a renewal is for the same key", "nobody agreed to it, or it was done already"]


def test_a_key_that_everybody_can_sign_for_is_none() -> None:
    identity = ed25519.Ed25519PublicKey.from_public_bytes((1).to_bytes(32, "little"))
    assert not is_sound(identity)
    assert is_sound(ed25519.Ed25519PrivateKey.generate().public_key())


def test_statements_are_of_their_time_and_certificate(people: People) -> None:
    suspending = alone(people.home, people.opens("vera"), "account.suspend", {"account": "x"}, NOW)
    assert suspending.chain.actor == f"staff:{people.ids['vera']}"
    with reading(people.home.engine) as connection:
        entry = writer.details(connection, people.ids["vera"], "staff.acted")[0]
    people.forge(Event(NOW, "staff.acted", None, people.ids["vera"], None, {**entry, "about": {"account": "y"}}))
    late = NOW + timedelta(days=500)
    people.forge(Event(late, "staff.acted", None, people.ids["vera"], None, entry))
    assert people.reasons() == ["the statement was there before", "it was signed at another time"]
    waiting = people.asked("account.create", ACCOUNT, "vera")
    revoked = {"issuer": "officers", "reason": "keyCompromise"}
    with transaction(people.home.engine) as connection:
        known = register.identify(connection, people.keys["vito"].public_key(), NOW)
    people.forge(Event(NOW, "certificate.revoked", None, known.certificate, None, revoked))
    told = statement(people, Deed.APPROVE, "vito")
    people.forge(Event(NOW, "approval.approved", None, waiting.id, None, {"act": waiting.act, **told}))
    assert people.reasons()[-1] == "the person had no such certificate, or was removed"


def test_nothing_is_removed_where_there_is_no_staff(tmp_path: Path) -> None:
    home = small_home(tmp_path / "home")
    with transaction(home.engine) as connection:
        home.chain.append(connection, [Event(NOW, "ledger.pruned", reference="ledger", details={"chains": {}})])
    assert [(one.kind, one.reason) for one in audit(home).findings] == [("ledger.pruned", "there is no staff yet")]
    home.close()


def test_what_cannot_be_read_is_a_finding(people: People) -> None:
    people.forge(Event(NOW, "key.destroyed"), Event(NOW, "account.created"))
    with transaction(people.home.engine) as connection:
        forged = ledger.c.kind.in_(("key.destroyed", "account.created"))
        connection.execute(update(ledger).where(forged).values(body=b"\xff"))
    found = audit(people.home).findings
    assert {one.kind for one in found if "cannot be read" in one.reason} == {"key.destroyed", "account.created"}


CHANGES: dict[str, Callable[[People], dict[str, object]]] = {
    "what it would change": lambda _: {"after": b'{"name":"Nobody"}'},
    "who asked": lambda people: {"asked_by": people.ids["ann"]},
    "the act": lambda _: {"act": "nonsense"},
    "its end": lambda _: {"expires_at": NOW + timedelta(days=99)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_asked_for_is_what_is_carried_out(people: People, change: str) -> None:
    waiting = people.asked("account.create", ACCOUNT, "vera")
    with transaction(people.home.engine) as connection:
        row = update(approvals).where(approvals.c.id == waiting.id)
        connection.execute(row.values(**CHANGES[change](people)))
    with pytest.raises((Conflict, NotAllowed)):
        oversight.approve(people.home, people.opens("vito"), waiting.id, waiting.content, NOW)
    assert waiting.id in {one.entry for one in audit(people.home).findings}


def test_what_was_agreed_on_and_failed_ends(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise KeyUnavailable("the token is away")

    act = ACTS["authority.renew"]
    monkeypatch.setattr(oversight, "ACTS", {**ACTS, "authority.renew": msgspec.structs.replace(act, outside=away)})
    waiting = [people.asked("authority.renew", RenewMember("tsa"), "ann") for _ in range(2)]
    for one in waiting:
        with pytest.raises(KeyUnavailable):
            oversight.approve(people.home, people.opens("bob"), one.id, one.content, NOW)
    monkeypatch.undo()
    with pytest.raises(Conflict):
        oversight.carry_out(people.home, people.opens("ann"), waiting[0].id, NOW + timedelta(days=8))
    assert oversight.carry_out(people.home, people.opens("ann"), waiting[0].id, NOW).done
    with pytest.raises(Conflict):  # the certificate is another by now
        oversight.carry_out(people.home, people.opens("ann"), waiting[1].id, NOW)
    assert oversight.refuse(people.home, people.opens("bob"), waiting[1].id, "too late", NOW).state == "refused"
    assert people.reasons() == []


def test_every_act_that_waits_can_be_carried_out_and_the_other_way_round() -> None:
    assert {name for name, right in RIGHTS.items() if right.decides} == set(ACTS)
    assert {"account.created", "account.resumed", "policy.set", "staff.enrolled"} <= GUARDED
