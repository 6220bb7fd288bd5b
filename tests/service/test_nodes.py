"""Two nodes on one PostgreSQL database: each serves any request, and together they are as exact as one."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from nodes import also_at, two_nodes
from postgres import Server
from served import JOHN_DOE, Partner, Served, make_partner, tls

DIGEST = "AB" * 32
CLIENTS = 32
PATIENCE_SECONDS = 3
IDENTITIES = 12


@pytest.fixture(scope="module")
def store() -> Iterator[Server]:
    server = Server()
    yield server
    server.end()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, store: Server) -> Iterator[tuple[Served, Served]]:
    one, two = two_nodes(tmp_path_factory.mktemp("nodes"), store.new_database(), IDENTITIES, PATIENCE_SECONDS)
    for node in one, two:
        settings = node.home / "intaglio.toml"
        rates = "[rates]\ntimestamps = { per_second = 0.001, burst = 40 }\n"
        rates += "signatures = { per_second = 10000, burst = 10000 }\n"
        settings.write_text(f"{settings.read_text()}\n{rates}")
    for node in one, two:
        node.start()
    yield one, two
    for node in one, two:
        assert node.stop() == 0


@pytest.fixture(scope="module")
def clients(nodes: tuple[Served, Served], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Partner]]:
    """The same partner, once at each node, with the token that the first one gave it."""
    partner = make_partner(
        nodes[0], tmp_path_factory.mktemp("partners") / "p", "--kind", "individual", "--test",
        "--quota-signatures", "100",
    )  # fmt: skip
    second = also_at(nodes[1], partner)
    yield [partner, second]
    partner.client.close()
    second.client.close()


def everywhere(clients: list[Partner], call: Callable[[Partner], httpx.Response], times: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda place: call(clients[place % 2]), range(times)))


def test_any_node_serves_any_request_and_no_key_or_serial_number_is_had_twice(clients: list[Partner]) -> None:
    made = everywhere(clients, lambda at: at.post("/identity", JOHN_DOE), IDENTITIES)
    assert {one.status_code for one in made} == {200}
    assert len({one.json()["id"] for one in made}) == IDENTITIES
    assert len({one.json()["signing_cert"] for one in made}) == IDENTITIES
    for identity in (made[0].json()["id"], made[1].json()["id"]):
        answers = [at.get(f"/identity/{identity}/sign/{DIGEST}") for at in clients]
        assert [one.status_code for one in answers] == [200, 200]


def test_a_quota_is_spent_to_the_last_and_no_further_by_both_together(clients: list[Partner]) -> None:
    left = clients[0].get("/quotas/signatures").json()["value"]
    identity = clients[0].post("/identity", JOHN_DOE).json()["id"]
    answers = everywhere(clients, lambda at: at.get(f"/identity/{identity}/sign/{DIGEST}"), left + 40)
    granted = [one.status_code for one in answers].count(200)
    assert granted == left
    assert {one.status_code for one in answers} == {200, 403}
    counted = [at.get("/quotas/signatures").json()["value"] for at in clients]
    assert counted == [0, 0]


def test_a_rate_is_kept_by_both_together(clients: list[Partner]) -> None:
    answers = everywhere(clients, lambda at: at.get(f"/timestamp/{DIGEST}"), 100)
    assert [one.status_code for one in answers].count(200) == 40
    assert {one.status_code for one in answers} == {200, 429}
    for at in clients:
        refused = at.get(f"/timestamp/{DIGEST}")
        assert (refused.status_code, 900 < int(refused.headers["retry-after"]) <= 1000) == (429, True)


def test_the_ledger_of_both_holds(nodes: tuple[Served, Served], clients: list[Partner]) -> None:
    for node in nodes:
        assert node.intaglio("ledger", "verify")["entries"] > 100
    wanted = ("--account", clients[0].account_id, "--kind", "signature.made")
    told = nodes[1].intaglio("ledger", "show", *wanted, "--most", "500")
    assert len(told) == 100
    assert {one["chain"] for one in told} == {"one:0", "two:0"}


def test_what_is_done_at_one_node_holds_at_the_other_within_a_second(
    nodes: tuple[Served, Served], clients: list[Partner]
) -> None:
    assert [at.get("/trustchain").status_code for at in clients] == [200, 200]
    nodes[1].intaglio("account", "suspend", clients[0].account_id)
    time.sleep(1.0)
    assert [at.get("/trustchain").status_code for at in clients] == [403, 403]
    nodes[0].intaglio("account", "resume", clients[0].account_id)


@pytest.mark.parametrize("how", ["hangs", "dies"])
def test_a_database_that_is_away_is_met_with_503_and_taken_up_again(
    nodes: tuple[Served, Served], store: Server, tmp_path: Path, how: str
) -> None:
    partner = make_partner(nodes[0], tmp_path / "p", "--kind", "individual", "--test")
    identity = partner.post("/identity", JOHN_DOE).json()["id"]
    signed: list[str] = []
    refused: list[httpx.Response] = []
    slowest = [0.0]
    ended = threading.Event()

    def sign(node: Served) -> None:
        with httpx.Client(base_url=node.url, verify=tls(node, partner.folder), timeout=20) as client:
            while not ended.is_set():
                begun = time.monotonic()
                answer = client.get(f"/identity/{identity}/sign/{DIGEST}", headers=partner.authorization)
                slowest.append(time.monotonic() - begun)
                if answer.status_code == 200:
                    signed.append(answer.json()["signature"])
                else:
                    refused.append(answer)
                    time.sleep(0.02)

    threads = [threading.Thread(target=sign, args=(nodes[place % 2],)) for place in range(6)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        before = len(signed)
        if how == "dies":
            store.kill()
            time.sleep(1)
            store.restart()
        else:
            store.pause()
            time.sleep(PATIENCE_SECONDS + 2)
            # It is then that figures are wanted: what the database says is missing, and nothing else.
            told = {sample.name: sample for sample in nodes[0].measured()}
            assert told["intaglio_ready"].value == 0
            assert told["intaglio_trouble"].labels["part"] == "database"
            assert "intaglio_commit_writes_count" in told
            assert "intaglio_pool_ready_keys" not in told
            store.pause(signal.SIGCONT)
        until = time.monotonic() + 20
        while len(signed) < before + 50 and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    partner.client.close()
    assert before
    # What the database says is said by each node alike.
    shared = [{one.name: one.value for one in node.measured()}["intaglio_pool_low_keys"] for node in nodes]
    assert shared == [IDENTITIES, IDENTITIES]
    assert len(signed) >= before + 50
    assert refused
    assert {one.status_code for one in refused} == {503}
    assert all("retry-after" in one.headers for one in refused)
    assert max(slowest) < PATIENCE_SECONDS + 4
    nodes[0].intaglio("ledger", "verify")
    wanted = ("--account", partner.account_id, "--kind", "signature.made")
    told = nodes[0].intaglio("ledger", "show", *wanted, "--most", "99999")
    # What was committed and never answered is there, too.
    assert len(signed) <= len(told) <= len(signed) + len(refused)
    assert json.dumps(told).count(identity) == len(told)
