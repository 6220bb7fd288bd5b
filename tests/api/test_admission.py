"""What is more than the service can do is refused at once, and by whom it comes; nobody else is kept out."""

import asyncio
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from composed import composed
from intaglio.api.admission import Admission, Places
from intaglio.api.gate import Gate
from intaglio.api.peer import CLIENT_CERTIFICATE
from intaglio.database.engine import open_engine
from intaglio.ledger.refusals import MOST_OF_ONE
from onboarded import small_home
from served import JOHN_DOE, Partner, Served, make_partner, small_service, tls

MOST = 9
DIGEST = "AB" * 32


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=200))
def test_no_more_have_places_than_there_are_and_who_comes_new_finds_one(steps: list[tuple[str, bool]]) -> None:
    places, inside = Places(MOST), dict.fromkeys("abcdef", 0)
    for source, leaves in steps:
        if leaves and inside[source]:
            places.leave(source)
            inside[source] -= 1
        elif not leaves:
            entered = places.enter(source)
            inside[source] += entered
            # Who has the least is refused only if nothing is free.
            assert entered or inside[source] >= min(inside.values()) + 1 or sum(inside.values()) == MOST
        assert sum(inside.values()) <= MOST
    one = max(inside, key=lambda source: inside[source])
    for source, number in inside.items():
        for _ in range(number):
            places.leave(source)
    # Alone, one has two thirds and no more.
    assert [places.enter(one) for _ in range(MOST)].count(True) == 2 * MOST // 3


@pytest.mark.parametrize(
    ("health", "method", "free"),
    [(True, "GET", True), (True, "HEAD", True), (True, "POST", False), (False, "GET", False)],
)
def test_who_asks_for_health_is_let_in_always_where_it_is_told(
    tmp_path: Path, health: bool, method: str, free: bool
) -> None:
    home = small_home(tmp_path / "home")

    async def walk() -> None:
        async with composed(home) as (service, _):
            let_in, over = 0, asyncio.Event()

            async def wait(_scope: Any, _receive: Any, _send: Any) -> None:
                nonlocal let_in
                let_in += 1
                await over.wait()

            async def ignore(_: Any) -> None:
                pass

            async def receive() -> Any:
                return {"type": "http.request"}

            most = home.settings.limits.in_flight
            door = Admission(wait, service, health=health)
            scope: dict[str, Any] = {"type": "http", "method": method, "path": "/readyz", "client": ("192.0.2.1", 1)}
            scope |= {"state": {"request_id": "r"}, "headers": []}
            asked = [asyncio.create_task(door(dict(scope), receive, ignore)) for _ in range(most)]
            await asyncio.sleep(0)
            assert (let_in == most) == free
            over.set()
            await asyncio.gather(*asked)

    asyncio.run(walk())
    home.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = small_service(tmp_path_factory.mktemp("admission") / "home", f"[limits]\nin_flight = {MOST}\n")
    made.start()
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def partners(service: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Partner]]:
    folder = tmp_path_factory.mktemp("partners")
    made = [make_partner(service, folder / name, "--kind", "individual", "--test") for name in ("noisy", "quiet")]
    yield made
    for one in made:
        one.client.close()


def test_a_network_of_ipv6_is_one_source(tmp_path: Path) -> None:
    """Of places and of refusals, whichever of its addresses it comes from; an address of IPv4 is one."""
    home = small_home(tmp_path / "home")

    async def walk() -> None:
        async with composed(home) as (service, _):
            let_in: list[str] = []
            over = asyncio.Event()

            async def wait(scope: Any, _receive: Any, _send: Any) -> None:
                let_in.append(scope["client"][0])
                await over.wait()

            async def ignore(_: Any) -> None:
                pass

            doors = Admission(wait, service)
            gate = Gate(doors, service, json_only=True)

            def ask(door: Any, method: str, peer: str) -> asyncio.Task[None]:
                scope: dict[str, Any] = {
                    "type": "http",
                    "method": method,
                    "path": "/x",
                    "headers": [],
                    "client": (peer, 1),
                }
                scope |= {"state": {"request_id": "r"}, "extensions": {CLIENT_CERTIFICATE: {"certificate": None}}}
                return asyncio.create_task(door(scope, ignore, ignore))

            most = home.settings.limits.in_flight
            inside = [ask(doors, "GET", f"2001:db8::{number:x}:1") for number in range(most)]
            inside += [ask(doors, "GET", one) for one in ("2001:db8:0:1::1", "::ffff:192.0.2.1", "192.0.2.2")]
            await asyncio.sleep(0)
            assert len(let_in) == 2 * most // 3 + 1 + 3
            over.set()
            await asyncio.gather(*inside)

            await asyncio.gather(*(ask(gate, "POST", f"2001:db8::{one:x}:1") for one in range(MOST_OF_ONE + 5)))
            await asyncio.gather(*(ask(gate, "POST", f"::ffff:192.0.2.{one}") for one in range(9)))
            [event] = service.refusals.summaries(service.engine.clock.now(), all_of_them=True)
            assert (event.details["count"], event.details["peer"]) == (5, "2001:db8::/64")

    asyncio.run(walk())
    home.close()


def test_while_the_store_is_slow_most_are_refused_at_once_and_others_are_let_in(
    service: Served, partners: list[Partner]
) -> None:
    noisy, quiet = partners
    identities = [one.post("/identity", JOHN_DOE).json()["id"] for one in partners]
    context = tls(service, noisy.folder)
    crowd = [
        httpx.Client(base_url=service.url, verify=context, headers=noisy.authorization, timeout=20) for _ in range(30)
    ]
    # The handshakes are over by then, and take none of the few seconds that the service waits for the lock.
    assert {one.get("/quotas/signatures").status_code for one in crowd} == {200}
    store = open_engine(f"sqlite:///{service.home / 'intaglio.db'}")
    asked: list[Future[httpx.Response]] = []
    with ThreadPoolExecutor(32) as pool:
        with store.connect() as holder:
            holder.execute(text("SELECT 1"))  # begins, and takes the only lock
            path = f"/identity/{identities[0]}/sign/{DIGEST}"
            asked += [pool.submit(one.get, path) for one in crowd]
            until = time.monotonic() + 4
            while sum(one.done() for one in asked) < 24 and time.monotonic() < until:
                time.sleep(0.02)
            refused = [done.result() for done in asked if done.done()]
            asked.append(pool.submit(quiet.get, f"/identity/{identities[1]}/sign/{DIGEST}"))
            time.sleep(0.3)
            assert not asked[-1].done()  # let in, it waits for the store
        answers = [one.result() for one in asked]
    store.dispose()
    for one in crowd:
        one.close()
    # Two thirds of the places are the noisy one's, and all of its others are told so while those wait.
    assert len(refused) == 24
    for answer in refused:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["errors"] == {"service": "is busy"}
    assert [answer.status_code for answer in answers].count(200) == 7
    assert answers[-1].status_code == 200
    # All places are free again.
    assert noisy.get(f"/identity/{identities[0]}/sign/{DIGEST}").status_code == 200


@pytest.mark.parametrize("asked", [b"POST /tsa", b"GET /ocsp", b"PATCH /ocsp", b"POST /ocsp"])
def test_who_is_slow_to_send_takes_nobody_s_place(service: Served, partners: list[Partner], asked: bytes) -> None:
    waiting = []
    for _ in range(2 * MOST):
        plain = socket.create_connection(("127.0.0.1", service.pki_port))
        plain.sendall(
            asked + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/timestamp-query\r\nContent-Length: 60\r\n\r\nx"
        )
        waiting.append(plain)
    for _ in range(5):
        assert httpx.get(f"{service.public}/ca/root.crt").status_code == 200
        time.sleep(0.05)
    for plain in waiting:
        plain.close()
    assert partners[0].get("/trustchain").status_code == 200
