"""One node of two processes: they serve at one address, are as exact as one, and end together."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from served import JOHN_DOE, Partner, Served, make_partner, small_service, tls

DIGEST = "AB" * 32
CONNECTIONS = 16
RATES = """
[rates]
timestamps = { per_second = 0.001, burst = 40 }
logins = { per_second = 0.001, burst = 12 }
"""


def serving(service: Served) -> list[int]:
    """The further processes that serve, by id."""
    assert service.process is not None
    found = Path(f"/proc/{service.process.pid}/task").glob("*/children")
    children = [int(pid) for path in found for pid in path.read_text().split()]
    return [pid for pid in children if b"intaglio.cli.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = small_service(tmp_path_factory.mktemp("workers") / "home", RATES)
    made.start("--workers", "2")
    yield made
    assert made.process is None


@pytest.fixture(scope="module")
def partner(service: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partner]:
    quota = ("--quota-signatures", "100")
    made = make_partner(service, tmp_path_factory.mktemp("partners") / "p", "--kind", "individual", "--test", *quota)
    yield made
    made.client.close()


def each_by_its_own(partner: Partner, path: str, times: int, body: object = None) -> list[int]:
    """Ask over many connections at once, which both processes take."""
    method = "GET" if body is None else "POST"

    def ask(share: int) -> list[int]:
        with httpx.Client(base_url=partner.served.url, verify=tls(partner.served, partner.folder), timeout=20) as one:
            asked = [one.request(method, path, json=body, headers=partner.authorization) for _ in range(share)]
            return [answer.status_code for answer in asked]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [code for codes in pool.map(ask, [times // CONNECTIONS] * CONNECTIONS) for code in codes]


def test_both_serve_with_one_quota(service: Served, partner: Partner) -> None:
    assert len(serving(service)) == 1
    identity = partner.post("/identity", JOHN_DOE).json()["id"]
    before = cpu_seconds(serving(service)[0])
    answers = each_by_its_own(partner, f"/identity/{identity}/sign/{DIGEST}", 9 * CONNECTIONS)
    assert answers.count(200) == 100
    assert set(answers) == {200, 403}
    # The other had its share of it: a handshake alone takes milliseconds.
    assert cpu_seconds(serving(service)[0]) > before
    assert service.intaglio("ledger", "verify")["entries"] > 100


def test_both_keep_one_rate(service: Served, partner: Partner) -> None:
    answers = each_by_its_own(partner, f"/timestamp/{DIGEST}", 6 * CONNECTIONS)
    assert Counter(answers) == {200: 40, 429: 56}
    refused = partner.get(f"/timestamp/{DIGEST}")
    assert refused.headers["content-type"] == "application/problem+json;charset=utf-8"
    wait = int(refused.headers["retry-after"])
    assert 900 < wait <= 1000
    assert refused.headers["ratelimit-policy"] == '"timestamps";q=40;w=40000'
    assert refused.headers["ratelimit"] == f'"timestamps";r=0;t={wait}'
    # Nothing else is kept waiting by it, and nothing was spent on what was refused.
    assert partner.get("/quotas/timestamps").json()["value"] == 9_960
    told = service.intaglio("ledger", "show", "--account", partner.account_id, "--kind", "timestamp.", "--most", "99")
    assert len(told) == 40


def test_both_count_logins_together(service: Served, partner: Partner) -> None:
    # One was made with the partner.
    assert Counter(each_by_its_own(partner, "/login", 2 * CONNECTIONS, partner.secret)) == {200: 11, 429: 21}
    assert service.intaglio("account", "show", partner.account_id)["quotas"]["logins"] == {"granted": None, "spent": 12}


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_one_that_is_killed_is_replaced_and_missed_by_nobody(service: Served, partner: Partner) -> None:
    killed = serving(service)[0]
    os.kill(killed, signal.SIGKILL)
    assert set(each_by_its_own(partner, "/trustchain", 2 * CONNECTIONS)) == {200}
    until(lambda: serving(service) not in ([], [killed]))


def test_when_the_first_is_killed_the_others_end(service: Served) -> None:
    [other] = serving(service)
    assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not Path(f"/proc/{other}").exists())
    service.start("--workers", "2")
    assert len(serving(service)) == 1


def test_they_end_together_and_without_a_trace(service: Served, partner: Partner) -> None:
    partner.client.close()
    [other] = serving(service)
    assert service.stop() == 0
    assert not Path(f"/proc/{other}").exists()
