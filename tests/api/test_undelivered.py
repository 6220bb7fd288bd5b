"""What was made for a client that went away is on record, and what it did not ask for to the end is not made."""

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


def test_of_a_body_that_never_came_nothing_is_made(served: Served, organization: Partner) -> None:
    """An account whose units may be left out gets a certificate by `null`, and by no body."""

    def made() -> int:
        account = organization.account_id
        return len(served.intaglio("ledger", "show", "--account", account, "--kind", "identity.created"))

    def answered() -> int:
        return served.log.read_bytes().count(b"POST /v2/identity")

    head = (
        "POST /v2/identity HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {organization.token}\r\n"
    )
    chunk = b'1e\r\n{"subject_dn":{"organizational\r\n'
    cut = [
        b"Content-Length: 500\r\n\r\n",
        b'Content-Length: 500\r\n\r\n{"subject_dn":{"organizational_unit":["Acc',
        b"Content-Length: 500\r\n\r\nnull",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nnull\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + chunk,
    ]
    before, until = answered() + len(cut), time.monotonic() + 20
    had = made()
    for sent in cut:
        with (
            socket.create_connection(("127.0.0.1", served.api_port)) as plain,
            tls(served, organization.folder).wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(head.encode() + sent)
            # Else it is gone before its head is read, and no request at all.
            time.sleep(0.2)
    while answered() < before and time.monotonic() < until:
        time.sleep(0.05)
    assert answered() >= before
    assert made() == had
    # The control: a body that is there and empty.
    whole = organization.client.post(
        "/identity", content=b"", headers={**organization.authorization, "Content-Length": "0"}
    )
    assert (whole.status_code, made()) == (200, had + 1)


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
