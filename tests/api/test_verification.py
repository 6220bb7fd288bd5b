"""Who is certified under an account of production was verified by a mechanism that is approved."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from served import JOHN_DOE, Partner, Served, approved_mechanism, make_partner

ADA = {"subject_dn": {"common_name": "Ada"}}
EMPLOYEE = ("--kind", "employee", "--organization", "Example Ltd", "--country", "GB")


@pytest.fixture(scope="module")
def employee(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partner]:
    partner = make_partner(served, tmp_path_factory.mktemp("partners") / "employee", *EMPLOYEE)
    yield partner
    partner.client.close()


def ask(partner: Partner, *shown: str) -> httpx.Response:
    headers = [("Authorization", f"Bearer {partner.token}"), *(("Identity-Verification", one) for one in shown)]
    return partner.client.post("/identity", json=ADA, headers=headers)


def last(served: Served, partner: Partner) -> Any:
    return served.intaglio("ledger", "show", "--account", partner.account_id, "--most", "1")[0]


def test_the_only_mechanism_needs_no_header_and_another_state_than_approved_certifies_nobody(
    served: Served, employee: Partner
) -> None:
    mechanism = served.intaglio("mechanism", "list", "--account", employee.account_id)[0]["mechanism_id"]
    assert ask(employee).status_code == 200
    found = last(served, employee)["details"]["verification"]
    assert found == {
        "mechanism": mechanism, "version": 2, "type": "directory", "depth": "asserted", "reference": None,
    }  # fmt: skip
    for act, undone in (("suspend", "resume"), ("audit", "approve")):
        served.intaglio("mechanism", act, mechanism, "--reason", "a trial")
        for headers in ((), (mechanism,)):
            answer = eventually_refused(employee, *headers)
            assert answer.json()["errors"].keys() == {"identity_verification"}
            assert last(served, employee)["details"]["errors"] == answer.json()["errors"]
        served.intaglio("mechanism", undone, mechanism)
        assert eventually(employee, 200)


def eventually(partner: Partner, status: int, *shown: str) -> httpx.Response:
    """Ask until it is so: a change is noticed within a second."""
    until = time.monotonic() + 10
    while (answer := ask(partner, *shown)).status_code != status:
        assert time.monotonic() < until, answer.text
        time.sleep(0.05)
    return answer


def eventually_refused(partner: Partner, *shown: str) -> httpx.Response:
    return eventually(partner, 403, *shown)


def test_a_reference_goes_into_the_ledger_and_several_mechanisms_must_be_chosen_from(
    served: Served, employee: Partner
) -> None:
    other = approved_mechanism(served, employee.account_id)
    answer = eventually_refused(employee)
    assert answer.json()["errors"] == {"identity_verification": "is needed: the account has several mechanisms"}
    assert ask(employee, f'{other}; ref="case \\"7\\""').status_code == 200
    found = last(served, employee)["details"]["verification"]
    assert (found["mechanism"], found["reference"]) == (other, 'case "7"')
    served.intaglio("mechanism", "refuse", other, "--reason", "a trial")
    eventually_refused(employee, other)


@pytest.mark.parametrize("shown", [["x"], [""], ["0" * 32, "0" * 32], ["0" * 32 + "; ref=x"], ["0" * 32 + '; ref="é"']])
def test_a_header_that_cannot_be_read_is_named(employee: Partner, shown: list[str]) -> None:
    headers = [(b"Authorization", f"Bearer {employee.token}".encode())]
    headers += [(b"Identity-Verification", one.encode("latin-1")) for one in shown]
    answer = employee.client.post("/identity", json=ADA, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["errors"].keys() == {"identity-verification"}


def test_a_mechanism_of_another_account_is_none(served: Served, employee: Partner, individual: Partner) -> None:
    foreign = served.intaglio("mechanism", "list", "--account", individual.account_id)[0]["mechanism_id"]
    assert ask(employee, foreign).status_code == 403


def test_test_accounts_need_none(served: Served, tmp_path: Any) -> None:
    partner = make_partner(served, tmp_path / "trial", "--kind", "individual", "--test")
    assert partner.post("/identity", JOHN_DOE).status_code == 200
    assert "verification" not in last(served, partner)["details"]
    partner.client.close()


def test_two_people_agreed_to_every_mechanism_of_production(served: Served, employee: Partner) -> None:
    del employee
    agreed = {one.get("approval") for one in served.intaglio("ledger", "show", "--kind", "mechanism.approved")}
    assert agreed
    assert None not in agreed
    assert served.intaglio("approvals", "verify")["findings"] == []
