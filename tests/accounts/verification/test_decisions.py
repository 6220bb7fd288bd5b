"""Mechanisms are applied for and decided about, each with its entry; who is certified needs one that may be used."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from intaglio.accounts import onboarding
from intaglio.accounts.kinds import Kind
from intaglio.accounts.verification import decisions, register
from intaglio.accounts.verification.presented import NOTHING, Presented, look
from intaglio.accounts.verification.register import Mechanism, State, Type
from intaglio.database.engine import transaction
from intaglio.errors import Conflict, ContentRefused, NotVerified
from intaglio.ledger import writer
from intaglio.ledger.verify import verify
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service.home import Home
from onboarded import small_home

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
FILES = {"contract.pdf": "ab" * 32}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return small_home(tmp_path_factory.mktemp("mechanisms") / "home")


@pytest.fixture
def connection(home: Home) -> Iterator[Connection]:
    with transaction(home.engine) as found:
        yield found


@pytest.fixture
def account(home: Home, connection: Connection) -> str:
    return onboarding.create_account(
        connection, home.chain, name="A", kind=Kind.EMPLOYEE, hierarchy=Hierarchy.PRODUCTION, organization="A Ltd",
        country="GB", granted={}, now=NOW,
    ).id  # fmt: skip


def applied(home: Home, connection: Connection, account: str, **other: Any) -> Mechanism:
    said: dict[str, Any] = {
        "type": Type.DIRECTORY,
        "provider": "A Ltd",
        "description": "Its directory",
        "evidence": FILES,
        "valid_until": NOW + timedelta(days=365),
        "now": NOW,
    }
    return decisions.apply(connection, home.chain, account, **{**said, **other})


ACTS: dict[str, Callable[..., Mechanism]] = {
    "approve": decisions.approve,
    "resume": decisions.resume,
    "refuse": lambda connection, chain, found, now: decisions.refuse(connection, chain, found, "why", now),
    "suspend": lambda connection, chain, found, now: decisions.suspend(connection, chain, found, "why", now),
    "audit": lambda connection, chain, found, now: decisions.call_for_audit(connection, chain, found, "why", now),
}


@pytest.mark.parametrize(
    ("acts", "state"),
    [
        ("approve", State.APPROVED),
        ("refuse", State.REFUSED),
        ("approve suspend", State.SUSPENDED),
        ("approve suspend resume", State.APPROVED),
        ("approve audit", State.AUDIT_DUE),
        ("approve audit approve", State.APPROVED),
        ("approve audit refuse", State.REFUSED),
        ("approve suspend audit approve", State.APPROVED),
        ("refuse approve", None),
        ("suspend", None),
        ("resume", None),
        ("audit", None),
        ("approve approve", None),
        ("approve audit resume", None),
        ("approve suspend approve", None),
        ("approve refuse resume", None),
    ],
)
def test_every_decision_that_fits_has_its_entry_and_no_other_is_made(
    home: Home, connection: Connection, account: str, acts: str, state: State | None
) -> None:
    found = applied(home, connection, account)
    *first, last = acts.split()
    for act in first:
        ACTS[act](connection, home.chain, found.id, NOW)
    if state is None:
        with pytest.raises(Conflict):
            ACTS[last](connection, home.chain, found.id, NOW)
        return
    decided = ACTS[last](connection, home.chain, found.id, NOW)
    assert (decided.state, decided.version) == (state, len(first) + 2)
    assert decided.usable(NOW) == (state == State.APPROVED)
    entries = [one for one in writer.recorded(connection) if one.reference == found.id]
    assert len(entries) == len(first) + 2
    verify(writer.recorded(connection))


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"provider": ""}, "provider"),
        ({"description": "two  blanks"}, "description"),
        ({"evidence": {}}, "evidence"),
        ({"evidence": {"a.pdf": "AB" * 32}}, "evidence.a.pdf"),
        ({"valid_until": NOW}, "valid_until"),
        ({"valid_until": NOW + timedelta(days=1097)}, "valid_until"),
    ],
)
def test_what_is_applied_for_is_checked(
    home: Home, connection: Connection, account: str, other: dict[str, Any], field: str
) -> None:
    with pytest.raises(ContentRefused) as refused:
        applied(home, connection, account, **other)
    assert refused.value.fields.keys() == {field}


def test_nothing_is_approved_after_its_time(home: Home, connection: Connection, account: str) -> None:
    found = applied(home, connection, account, valid_until=NOW + timedelta(days=1))
    with pytest.raises(Conflict):
        decisions.approve(connection, home.chain, found.id, NOW + timedelta(days=1))


def test_a_mechanism_is_used_while_it_is_approved_and_not_over(
    home: Home, connection: Connection, account: str
) -> None:
    one, two = (applied(home, connection, account, valid_until=NOW + timedelta(days=days)) for days in (1, 2))
    with pytest.raises(NotVerified):
        look([], NOTHING, NOW, needed=True)
    assert look([], NOTHING, NOW, needed=False) is None
    with pytest.raises(NotVerified):
        look([one], NOTHING, NOW, needed=True)
    mechanisms = [decisions.approve(connection, home.chain, each.id, NOW) for each in (one, two)]
    assert {one.id for one in register.every(connection, account, State.APPROVED)} == {one.id, two.id}
    with pytest.raises(NotVerified):  # which of the two
        look(mechanisms, NOTHING, NOW, needed=True)
    chosen = look(mechanisms, Presented(one.id, "r"), NOW, needed=False)
    assert chosen is not None
    assert chosen.id == one.id
    later = NOW + timedelta(days=1)
    with pytest.raises(NotVerified):
        look(mechanisms, Presented(one.id), later, needed=False)
    alone = look(mechanisms, NOTHING, later, needed=True)
    assert alone is not None
    assert alone.id == two.id
    with pytest.raises(NotVerified):
        look(mechanisms, Presented("0" * 32), NOW, needed=False)
