"""What was made for a client that went away is on record, and so is that it reached nobody."""

import secrets
import signal
import socket
import time
from pathlib import Path

from served import JOHN_DOE, Partner, Served, small_service, tls

HEAD = "GET /v2/identity/{identity}/sign/{digest} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"


def leave(served: Served, partner: Partner, identity: str, digest: str) -> None:
    """Ask for a signature and be gone before it is there."""
    head = HEAD.format(identity=identity, digest=digest, token=partner.token)
    context = tls(served, partner.folder)
    with (
        socket.create_connection(("127.0.0.1", served.api_port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(head.encode())


def test_who_went_away_is_on_record(served: Served, individual: Partner) -> None:
    identity = individual.post("/identity", JOHN_DOE).json()["id"]
    digests = [secrets.token_hex(32) for _ in range(10)]
    for digest in digests:
        leave(served, individual, identity, digest)
    received = individual.get(f"/identity/{identity}/sign/{secrets.token_hex(32)}").headers["x-request-id"]
    until = time.monotonic() + 10
    marked: set[str] = set()
    while not marked and time.monotonic() < until:
        told = served.intaglio("ledger", "show", "--account", individual.account_id, "--kind", "response.undelivered")
        marked = {one["request_id"] for one in told}
    made = served.intaglio("ledger", "show", "--account", individual.account_id, "--kind", "signature.made")
    by_digest = {one["details"]["digest"]: one["request_id"] for one in made}
    # Whoever is gone after the answer was written is not known to be.
    assert marked
    assert marked <= {by_digest[digest] for digest in digests}
    assert received not in marked


def test_a_start_says_after_which_entry_the_service_was_cut_off(tmp_path: Path) -> None:
    served = small_service(tmp_path / "home")
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        served.start()
        served.stop(number)
    told = served.intaglio("ledger", "show", "--kind", "service.", "--most", "10")[1:]  # the first: it was made
    assert [one["kind"].removeprefix("service.") for one in told] == ["started", "ended", "started", "started", "ended"]
    last = [one["details"].get("interrupted_after") for one in told if one["kind"] == "service.started"]
    assert last[:2] == [None, None]
    assert last[2] >= told[2]["sequence"]
