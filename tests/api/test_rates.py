"""A rate of an account's own: it holds at the next request, takes two people in production, and can be taken back."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from served import Partner, Served, make_partner

DIGEST = "AB" * 32
USUAL = {"per_second": 500.0, "burst": 1000, "of": "settings"}


@pytest.fixture
def partner(served: Served, tmp_path: Path) -> Iterator[Partner]:
    made = make_partner(served, tmp_path / "slow", "--kind", "individual", "--test")
    yield made
    made.client.close()


def stamped(partner: Partner, times: int) -> Counter[int]:
    return Counter(partner.get(f"/timestamp/{DIGEST}").status_code for _ in range(times))


def rates(served: Served, account: str) -> dict[str, object]:
    found: dict[str, object] = served.intaglio("account", "show", account)["rates"]
    return found


def test_a_rate_of_ones_own_holds_within_a_second_and_for_nobody_else(
    served: Served, partner: Partner, organization: Partner
) -> None:
    account = partner.account_id
    assert stamped(partner, 1) == {200: 1}
    assert rates(served, account)["timestamps"] == USUAL
    made = served.intaglio("account", "rate", account, "timestamps", "--per-second", "0.001", "--burst", "3")
    assert made == {"account_id": account, "resource": "timestamps", "per_second": 0.001, "burst": 3, "of": "account"}
    time.sleep(1)
    # What was had by the usual rate is forgotten by now, but for a little: GCRA keeps no history but one number.
    assert stamped(partner, 6) == {200: 3, 429: 3}
    assert stamped(organization, 6) == {200: 6}
    assert rates(served, account)["timestamps"] == {"per_second": 0.001, "burst": 3, "of": "account"}
    assert rates(served, account)["signatures"] == USUAL
    assert served.intaglio("account", "rate", account, "timestamps")["of"] == "settings"
    time.sleep(1)
    # The debt of the slow rate is a clock's that was set back, by the usual one: a burst's worth at most.
    assert stamped(partner, 20)[200] >= 1
    entries = served.intaglio("ledger", "show", "--account", account, "--kind", "account.rated")
    assert [one["details"]["rate"] for one in entries] == [{"per_second": 0.001, "burst": 3}, None]


def test_in_production_it_takes_two_people(served: Served, individual: Partner) -> None:
    made = served.intaglio(
        "account", "rate", individual.account_id, "signatures", "--per-second", "900", "--burst", "2000"
    )
    assert (made["per_second"], made["burst"]) == (900, 2000)
    [entry] = served.intaglio("ledger", "show", "--account", individual.account_id, "--kind", "account.rated")
    assert entry["approval"]
    agreed = served.intaglio("approvals", "show", entry["approval"])
    assert agreed["act"] == "account.rate"


def test_half_a_rate_is_refused(served: Served, partner: Partner) -> None:
    with pytest.raises(AssertionError, match="both or none"):
        served.intaglio("account", "rate", partner.account_id, "signatures", "--burst", "7")
