"""kill -9 while it signs, stamps and issues: what clients received is in the ledger, and quota is exact."""

import json
import secrets
import signal
import sqlite3
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from served import JOHN_DOE, Partner, Served, make_partner, small_service, tls
from variants import variant

CLIENTS = 8
KILLS = 25
RATES = """
[rates]
signatures = { per_second = 100000, burst = 100000 }
timestamps = { per_second = 100000, burst = 100000 }
identities = { per_second = 100000, burst = 100000 }
"""
# The answer leaves when the key has signed, whether or not the entry is durable.
EARLY = (
    "signing/engine.py",
    "            await self.commits.together(batch, argument, beside=done)\n",
    "            _ = asyncio.ensure_future(self.commits.together(batch, argument)), await asyncio.wrap_future(done)\n",
)


@dataclass
class Received:
    """What clients got: digests signed and stamped, and identities."""

    signed: list[str] = field(default_factory=list)
    stamped: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Client(threading.Thread):
    """Asks for one thing again and again, and keeps what it got."""

    def __init__(self, partner: Partner, identity: str, place: int, received: Received) -> None:
        super().__init__()
        self._partner = partner
        self._path = "/identity" if place == 0 else "/timestamp/" if place < 3 else f"/identity/{identity}/sign/"
        self._kept = received.identities if place == 0 else received.stamped if place < 3 else received.signed
        self.ended = False

    def run(self) -> None:
        served = self._partner.served
        with httpx.Client(base_url=served.url, verify=tls(served, self._partner.folder), timeout=5) as client:
            while not self.ended:
                digest = secrets.token_hex(32)
                try:
                    answer = self._ask(client, digest)
                except httpx.HTTPError:
                    time.sleep(0.02)
                    continue
                if answer.status_code == 200:
                    self._kept.append(answer.json()["id"] if self._path == "/identity" else digest)
                else:
                    assert answer.status_code == 503, answer.text

    def _ask(self, client: httpx.Client, digest: str) -> httpx.Response:
        if self._path == "/identity":
            return client.post(self._path, json=JOHN_DOE, headers=self._partner.authorization)
        return client.get(self._path + digest, headers=self._partner.authorization)


def drive(service: Served, partner: Partner, kills: int) -> Received:
    """Have clients at work while the service is killed and started again."""
    received = Received()
    identity = partner.post("/identity", JOHN_DOE).json()["id"]
    clients = [Client(partner, identity, place, received) for place in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        for _ in range(kills):
            time.sleep(0.5 + secrets.randbelow(500) / 1000)
            assert service.stop(signal.SIGKILL) == -signal.SIGKILL
            begun, before = time.monotonic(), len(received.signed)
            service.start()
            while len(received.signed) == before:
                assert time.monotonic() < begun + 30
                time.sleep(0.005)
            received.seconds.append(time.monotonic() - begun)
    finally:
        for client in clients:
            client.ended = True
        for client in clients:
            client.join()
    return received


def entries(home: Path, kind: str, member: str) -> Counter[str]:
    with sqlite3.connect(home / "intaglio.db") as connection:
        bodies = [json.loads(body) for (body,) in connection.execute("SELECT body FROM ledger WHERE kind = ?", (kind,))]
    return Counter(one["details"].get(member) or one[member] for one in bodies)


def lost(service: Served, received: Received) -> int:
    """Return how many things clients have that are not in the ledger."""
    signed, stamped = (
        entries(service.home, "signature.made", "digest"),
        entries(service.home, "timestamp.made", "imprint"),
    )
    made = entries(service.home, "identity.created", "reference")
    return (
        sum(one not in signed for one in received.signed)
        + sum(one not in stamped for one in received.stamped)
        + sum(one not in made for one in received.identities)
    )


def killed(folder: Path, kills: int, environment: dict[str, str]) -> tuple[Served, Received, dict[str, int]]:
    service = small_service(folder / "home", RATES)
    service.environment = environment
    service.start()
    partner = make_partner(
        service, folder / "partner", "--kind", "individual", "--test", "--quota-signatures", "1000000"
    )
    try:
        received = drive(service, partner, kills)
    finally:
        service.stop()
    partner.client.close()
    with sqlite3.connect(service.home / "intaglio.db") as connection:
        rows = connection.execute("SELECT resource, spent FROM quotas WHERE account_id = ?", (partner.account_id,))
        spent = dict(rows.fetchall())
    return service, received, spent


def test_whenever_it_is_killed_nothing_is_lost(tmp_path: Path, counted: Callable[[str], None]) -> None:
    service, received, spent = killed(tmp_path, KILLS, {})
    assert lost(service, received) == 0
    unanswered = 0
    for kind, member, resource, had in (
        ("signature.made", "digest", "signatures", received.signed),
        ("timestamp.made", "imprint", "timestamps", received.stamped),
    ):
        found = entries(service.home, kind, member)
        assert max(found.values()) == 1
        # Quota is spent with the entry, never without it; what was in flight at a kill was spent for nobody.
        assert spent[resource] == found.total()
        assert 0 <= found.total() - len(had) <= KILLS * CLIENTS
        unanswered += found.total() - len(had)
    verified = service.intaglio("ledger", "verify")["entries"]
    middle, most = statistics.median(received.seconds), max(received.seconds)
    assert middle <= 2
    answers = len(received.signed) + len(received.stamped) + len(received.identities)
    counted(
        f"{KILLS} kills, {CLIENTS} clients: {answers} answers, all in the ledger of {verified} entries;"
        f" {unanswered} entries unanswered; signing again after {middle:.2f} s, {most:.2f} s at most"
    )


def test_control_what_leaves_before_its_entry_is_durable_is_missed(
    tmp_path: Path, counted: Callable[[str], None]
) -> None:
    for turn in range(5):
        service, received, _ = killed(tmp_path / str(turn), 5, variant(tmp_path / f"early{turn}", EARLY))
        found = lost(service, received)
        if found:
            counted(f"answers before commits: {found} lost in {5 * (turn + 1)} kills")
            return
    pytest.fail("a service that answers before it commits was not found out")
