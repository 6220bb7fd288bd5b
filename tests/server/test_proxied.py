"""Listeners behind proxies: the PROXY header before TLS, and a Unix socket."""

import json
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace

import pytest

from commands import run
from intaglio.api.front import Front, Networks
from intaglio.errors import Conflict
from intaglio.server.listener import bind

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PROXIES = (ip_network("127.0.0.0/30"),)


def binary(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(rest).to_bytes(2) + rest


TOLD = [
    (b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n", ["192.0.2.7", 4711]),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", ["2001:db8::7", 4711]),
    (binary(0x21, 0x11, bytes([192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187])), ["192.0.2.7", 4711]),
    (
        binary(0x21, 0x21, b"\x20\x01\x0d\xb8" + bytes(11) + b"\x07" + bytes(16) + b"\x12\x67\x01\xbb"),
        ["2001:db8::7", 4711],
    ),
    # With an extension after the addresses.
    (binary(0x21, 0x11, bytes([192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187, 4, 0, 1, 0])), ["192.0.2.7", 4711]),
]
# The proxy's own checks: it is then the client.
OWN = [b"PROXY UNKNOWN\r\n", binary(0x20, 0x00, b""), binary(0x21, 0x00, b"")]
WRONG = [
    REQUEST,
    b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 443 " + b"x" * 200,
    b"PROXY TCP4 elsewhere 192.0.2.1 4711 443\r\n",
    b"PROXY TCP6 fe80::7%of-my-choice 2001:db8::1 4711 443\r\n",
    b"PROXY UDP4 192.0.2.7 192.0.2.1 4711 443\r\n",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 443\r\n",
    binary(0x11, 0x11, bytes(12)),
    binary(0x21, 0x11, bytes(11)),
    binary(0x21, 0x21, bytes(12)),
    SIGNATURE + b"\x21\x11\xff\xff",
    # Not whole, and then nothing.
    b"PROXY TCP4 192.",
]


def asked(pki: SimpleNamespace, port: int, header: bytes) -> dict[str, object]:
    """Send a header, then speak TLS, in one piece as far as that goes, and return what the application was told."""
    context = ssl.create_default_context(cafile=pki.ca)
    context.load_cert_chain(pki.client)
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        raw.sendall(header)
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
            connection.sendall(REQUEST)
            got = b""
            while piece := connection.recv(1 << 16):
                got += piece
    found: dict[str, object] = json.loads(got.partition(b"\r\n\r\n")[2])
    return found


def test_a_proxy_tells_the_client_s_address_and_the_handshake_its_certificate(
    mutual: Callable[..., int], pki: SimpleNamespace
) -> None:
    port = mutual(proxies=PROXIES)
    for header, client in TOLD:
        told = asked(pki, port, header)
        assert (told["client"], told["certificate"]) == (client, pki.fingerprint), header
    for header in OWN:
        told = asked(pki, port, header)
        assert isinstance(told["client"], list)
        assert told["client"][0] == "127.0.0.1", header


@pytest.mark.parametrize("header", WRONG)
def test_a_proxy_that_sends_no_such_header_is_not_served(
    mutual: Callable[..., int], conversation: Callable[..., bytes], header: bytes
) -> None:
    port = mutual(proxies=PROXIES)
    # Closed with bytes unread, a connection is reset.
    with suppress(ConnectionResetError):
        assert conversation(port, header) == b""


def test_who_is_no_proxy_sends_no_header(
    mutual: Callable[..., int], pki: SimpleNamespace, conversation: Callable[..., bytes]
) -> None:
    port = mutual(proxies=(ip_network("127.0.0.2/32"),))
    assert asked(pki, port, b"")["certificate"] == pki.fingerprint
    with suppress(ConnectionResetError):
        assert b"HTTP" not in conversation(port, TOLD[0][0])


def test_a_unix_socket_is_its_owner_s_and_group_s_and_a_dead_one_gives_way(
    listening: Callable[..., int], tmp_path: Path
) -> None:
    path = tmp_path / "front.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listening(bind=str(path))
    assert path.stat().st_mode & 0o777 == 0o660
    with pytest.raises(Conflict, match=r"front\.sock: Address already in use"):
        bind("front", str(path), 0)
    told = json.loads(run("curl", "-s", "--unix-socket", path, "http://x/y").stdout)
    assert (told["path"], told["client"]) == ("/y", None)


def test_the_last_address_that_was_forwarded_counts_and_only_from_a_peer() -> None:
    def address(sent: list[bytes], peer: str | None, peers: Networks | None = PROXIES) -> object:
        seen: list[object] = []

        async def app(scope: dict[str, object], _receive: object, _send: object) -> None:
            seen.append(scope["client"])

        scope = {
            "type": "http",
            "client": None if peer is None else (peer, 1),
            "headers": [(b"x-forwarded-for", value) for value in sent],
        }
        call = Front(app, peers)(scope, None, None)
        with pytest.raises(StopIteration):
            call.send(None)
        return seen[0]

    assert address([b"192.0.2.99, 192.0.2.7"], "127.0.0.2") == ("192.0.2.7", 0)
    assert address([b"192.0.2.99", b"2001:DB8::7"], "::ffff:127.0.0.2") == ("2001:db8::7", 0)
    assert address([b"192.0.2.7"], None, None) == ("192.0.2.7", 0)
    assert address([b"192.0.2.7"], None) is None
    assert address([b"192.0.2.7"], "127.0.0.9") == ("127.0.0.9", 1)
    assert address([b"unknown"], "127.0.0.2") == ("127.0.0.2", 1)
    assert address([b"fe80::7%of-my-choice"], "127.0.0.2") == ("127.0.0.2", 1)
    assert address([], "127.0.0.2") == ("127.0.0.2", 1)
