"""Whatever is sent, for however long: an answer of the 4xx kind or a closed connection, and no memory that stays."""

import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from api.bad_requests import BAD, ask
from served import JOHN_DOE, Partner, Served, make_partner, small_service, tls

ROUNDS = 60
MOST_BYTES = 10_000_000
RATES = """
[rates]
failed_logins = { per_second = 1000, burst = 100000 }
identities = { per_second = 1000, burst = 100000 }
"""
RAW = [
    b"NONSENSE\r\n\r\n",
    b"GET /v2/login HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
    b"POST /v2/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(2000)) + b"\r\n",
    b"POST /v2/identity HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n{",
]


def resident(service: Served) -> int:
    assert service.process is not None
    return 4096 * int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1])


def round_of_hostility(service: Served, partner: Partner, statuses: Counter[int]) -> None:
    for bad in BAD:
        answer = ask(partner.client, partner.token, bad)
        assert answer.status_code == bad.status
        statuses[answer.status_code] += 1
    context = tls(service, partner.folder)
    for sent in (*RAW, secrets.token_bytes(5000)):
        with (
            socket.create_connection(("localhost", service.api_port), timeout=15) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(sent)
            told = secure.recv(12)
            statuses[int(told.split()[1]) if told else 0] += 1
    for path in ("/ocsp", "/tsa"):
        answer = httpx.post(service.public + path, content=secrets.token_bytes(3000))
        statuses[answer.status_code] += 1


def test_memory_does_not_grow_by_what_is_refused(tmp_path: Path, counted: Callable[[str], None]) -> None:
    service = small_service(tmp_path / "home", RATES)
    service.start()
    partner = make_partner(service, tmp_path / "partner", "--kind", "individual", "--test")
    statuses: Counter[int] = Counter()
    for _ in range(10):
        round_of_hostility(service, partner, statuses)
    statuses.clear()
    before, begun = resident(service), time.monotonic()
    for _ in range(ROUNDS):
        round_of_hostility(service, partner, statuses)
    grown = resident(service) - before
    assert partner.post("/identity", JOHN_DOE).status_code == 200
    assert service.stop() == 0
    partner.client.close()
    assert not [status for status in statuses if status >= 500]
    assert grown < MOST_BYTES
    counted(
        f"{statuses.total()} hostile requests in {time.monotonic() - begun:.0f} s, none answered with 500 or above:"
        f" {grown / 1e6:+.1f} MB of memory"
    )
