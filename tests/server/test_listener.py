"""TLS as clients see it, and the end of a process that serves."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from intaglio.errors import Conflict
from intaglio.server.limits import Limits
from intaglio.server.listener import bind, tls_context

Listen = Callable[..., int]
Process = subprocess.Popen[str]

_GET = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
# Two addresses of this machine.
CLIENT, ELSEWHERE = "127.0.0.1", "127.0.0.9"
_SERVED = Path(__file__).with_name("served.py")


def _client(pki: SimpleNamespace, certificate: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=pki.ca)
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def _get(
    port: int, context: ssl.SSLContext, sent: bytes = _GET, *, source: str = CLIENT
) -> tuple[dict[str, Any], ssl.SSLSocket]:
    """Return what the application told and the closed connection; raises ssl.SSLError and OSError."""
    with (
        socket.create_connection(("127.0.0.1", port), 5, (source, 0)) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(sent)
        got = b""
        while piece := connection.recv(1 << 16):
            got += piece
        if not got:
            raise ConnectionResetError("closed without an answer")
        told: dict[str, Any] = json.loads(got.partition(b"\r\n\r\n")[2])
        return told, connection


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_application_sees_the_client_certificate(
    version: ssl.TLSVersion, pki: SimpleNamespace, mutual: Listen
) -> None:
    context = _client(pki, pki.client)
    context.minimum_version = context.maximum_version = version
    told, _ = _get(mutual(), context)
    assert told["certificate"] == pki.fingerprint


@pytest.mark.parametrize(
    ("version", "certificate", "alert"),
    [
        (ssl.TLSVersion.TLSv1_2, "none", "handshake failure"),
        (ssl.TLSVersion.TLSv1_3, "none", "certificate required"),
        (ssl.TLSVersion.TLSv1_2, "stranger", "decrypt error"),
        (ssl.TLSVersion.TLSv1_3, "stranger", "decrypt error"),
    ],
)
def test_a_client_without_a_certificate_of_ours_is_told_so(
    version: ssl.TLSVersion,
    certificate: str,
    alert: str,
    pki: SimpleNamespace,
    mutual: Listen,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "intaglio.server")
    context = _client(pki, None if certificate == "none" else pki.stranger)
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLError, match=alert):
        _get(mutual(), context)
    time.sleep(0.1)
    (failed,) = [vars(record) for record in caplog.records if record.message == "handshake failed"]
    assert failed["peer"] == "127.0.0.1"
    assert failed["reason"] in {
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        "unable to get local issuer certificate",
        "certificate signature failure",
    }


def test_http_on_the_tls_port_is_closed_at_once(mutual: Listen, conversation: Callable[..., bytes]) -> None:
    began = time.monotonic()
    assert conversation(mutual(), _GET) == b""
    assert time.monotonic() - began < 0.3


@pytest.mark.parametrize("option", ["-tls1", "-tls1_1"])
def test_old_versions_of_tls_are_refused(option: str, pki: SimpleNamespace, mutual: Listen) -> None:
    got = _s_client(mutual(), pki, option, "-cipher", "ALL:@SECLEVEL=0")
    assert got.returncode != 0
    assert "alert protocol version" in got.stderr


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_ciphers_without_forward_secrecy_or_authentication_are_refused(
    cipher: str, pki: SimpleNamespace, mutual: Listen
) -> None:
    got = _s_client(mutual(), pki, "-tls1_2", "-cipher", cipher)
    assert "handshake failure" in got.stderr


def test_renegotiation_and_compression_are_off(pki: SimpleNamespace, mutual: Listen) -> None:
    got = _s_client(mutual(), pki, "-tls1_2", input="R\n")
    assert "no renegotiation" in got.stderr
    assert "Compression: NONE" in got.stdout


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_no_tickets_are_given(option: str, pki: SimpleNamespace, mutual: Listen) -> None:
    got = _s_client(mutual(), pki, option, input=_GET.decode())
    assert "200 OK" in got.stdout
    assert "session ticket" not in got.stdout.lower()


def test_a_session_resumed_by_its_id_still_shows_the_certificate(pki: SimpleNamespace, mutual: Listen) -> None:
    port = mutual()
    context = _client(pki, pki.client)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", port), 5) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as first,
        socket.create_connection(("127.0.0.1", port), 5) as another,
        context.wrap_socket(another, server_hostname="127.0.0.1", session=first.session) as second,
    ):
        assert second.session_reused
        second.sendall(_GET)
        got = b""
        while piece := second.recv(1 << 16):
            got += piece
    assert pki.fingerprint.encode() in got


def test_half_a_handshake_is_cut_off_in_time(mutual: Listen) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", mutual()), 5) as connection:
        connection.sendall(b"\x16\x03\x01")
        assert connection.recv(1) == b""
    assert 0.3 < time.monotonic() - began < 1.5


def test_handshakes_count_as_connections(pki: SimpleNamespace, mutual: Listen, quick: Limits) -> None:
    """The oldest that has not ended gives way, to whoever comes from elsewhere, too."""
    port = mutual(connections=1, limits=structs.replace(quick, handshake_seconds=20))
    with socket.create_connection(("127.0.0.1", port), 5) as silent:
        time.sleep(0.1)
        assert _get(port, _client(pki, pki.client), source="127.0.0.9")[0]["path"] == "/a"
        silent.settimeout(5)
        assert silent.recv(1) == b""


PACES: list[tuple[dict[str, Any], str, bool]] = [
    ({"handshakes": 10}, CLIENT, True),
    ({"handshakes": 1000}, CLIENT, False),
    ({"handshakes": 10}, ELSEWHERE, False),
]
PACES.append(({"handshakes": 10, "trusted": (ip_network("127.0.0.1/32"),)}, CLIENT, False))


@pytest.mark.parametrize(("options", "source", "paced"), PACES, ids=["same", "fast", "elsewhere", "trusted"])
def test_handshakes_begin_as_fast_as_allowed_and_each_address_has_its_turn(
    pki: SimpleNamespace, mutual: Listen, options: dict[str, Any], source: str, *, paced: bool
) -> None:
    """32 at once and 10 in a second: 20 more take two, for the address that they come from alone."""
    port, context = mutual(connections=256, **options), _client(pki, pki.client)
    began = time.monotonic()
    waiting = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(52)]
    try:
        for one in waiting:
            one.sendall(b"\x16")
        time.sleep(0.1)
        assert _get(port, context, source=source)[0]["path"] == "/a"
        assert (time.monotonic() - began > 1.8) == paced
    finally:
        for one in waiting:
            one.close()


def test_who_says_nothing_uses_no_turn(pki: SimpleNamespace, mutual: Listen) -> None:
    port, context = mutual(connections=256, handshakes=5), _client(pki, pki.client)
    silent = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(60)]
    began = time.monotonic()
    assert _get(port, context)[0]["path"] == "/a"
    assert time.monotonic() - began < 3
    for one in silent:
        one.close()


def _kept(port: int, source: str, sent: bytes = _GET) -> socket.socket:
    """Return a connection on which a request was answered, unless nothing was sent."""
    made = socket.create_connection(("127.0.0.1", port), 5, (source, 0))
    made.sendall(sent)
    if sent.endswith(b"\r\n\r\n"):
        assert made.recv(4096).startswith(b"HTTP/1.1 200")
    return made


def _ended(connection: socket.socket) -> bool:
    connection.settimeout(0.3)
    try:
        return connection.recv(4096) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_when_all_connections_are_open_the_oldest_idle_one_gives_way(listening: Listen, quick: Limits) -> None:
    port = listening(connections=4, limits=structs.replace(quick, keep_alive_seconds=60, head_seconds=60))
    keep = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    # The first is used again, the second has sent half a head, the others nothing at all and a whole request.
    held = [_kept(port, f"127.0.0.{n}", sent) for n, sent in ((11, keep), (12, b"GET /a HT"), (13, b""), (14, keep))]
    time.sleep(0.1)
    held[0].sendall(keep)
    assert held[0].recv(4096).startswith(b"HTTP/1.1 200")
    time.sleep(0.6)
    new = [_kept(port, f"127.0.0.{n}", keep) for n in (15, 16)]
    assert [_ended(one) for one in held] == [False, True, True, False]
    for one in (*held, *new):
        one.close()


def test_a_connection_with_a_request_gives_way_to_nobody(
    listening: Listen, quick: Limits, conversation: Callable[..., bytes]
) -> None:
    port = listening(connections=1, limits=quick)
    with socket.create_connection(("127.0.0.1", port), 5) as busy:
        busy.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1")
        time.sleep(0.1)
        with suppress(ConnectionResetError):
            assert conversation(port, _GET) == b""
        busy.sendall(b"2")
        assert busy.recv(4096).startswith(b"HTTP/1.1 200")


def test_one_address_has_a_quarter_of_the_connections(listening: Listen, quick: Limits) -> None:
    limits = structs.replace(quick, keep_alive_seconds=60)
    keep = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    port = listening(connections=8, limits=limits)
    held = [_kept(port, CLIENT, keep) for _ in range(2)]
    more = socket.create_connection(("127.0.0.1", port), 5)
    assert _ended(more)
    held.append(_kept(port, ELSEWHERE, keep))
    # What ended makes place.
    held.pop(0).close()
    time.sleep(0.1)
    held.append(_kept(port, CLIENT, keep))
    front = listening(connections=8, limits=limits, trusted=(ip_network("127.0.0.1/32"),))
    held += [_kept(front, CLIENT, keep) for _ in range(5)]
    for one in (*held, more):
        one.close()


def test_half_a_request_over_tls_is_cut_off_in_time(pki: SimpleNamespace, mutual: Listen) -> None:
    began = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", mutual()), 5) as raw,
        _client(pki, pki.client).wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 408")
        assert connection.recv(1) == b""
    assert 0.3 < time.monotonic() - began < 1.5


def test_the_private_key_is_in_no_file_system(
    pki: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = set(Path("/proc/self/fd").iterdir())
    tls_context(pki.chain, pki.key, pki.ca)
    assert list(tmp_path.iterdir()) == []
    assert set(Path("/proc/self/fd").iterdir()) <= before


def test_an_address_in_use_is_said_with_what_to_do(listening: Listen) -> None:
    port = listening()
    with pytest.raises(Conflict, match=rf"The API listener cannot use 127\.0\.0\.1:{port}: Address already in use"):
        bind("API", "127.0.0.1", port)


def _s_client(port: int, pki: SimpleNamespace, *options: str, input: str = "") -> subprocess.CompletedProcess[str]:  # noqa: A002 # subprocess's own name
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-cert", pki.client, "-CAfile", pki.ca, *options]
    # What is typed is sent line by line once the handshake is done.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        time.sleep(0.3)
        try:
            process.stdin.write(input)
            process.stdin.flush()
            time.sleep(0.3 if input else 0)
            out, err = process.communicate(timeout=10)
        except BrokenPipeError:
            out, err = process.communicate(timeout=10)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.fixture
def served(pki: SimpleNamespace) -> Iterator[Callable[..., tuple[Process, int, int]]]:
    """Start a process that serves; returns it and its two ports once it is ready."""
    processes: list[Process] = []

    def start(drain_seconds: float = 5, port: int = 0) -> tuple[Process, int, int]:
        command = [sys.executable, str(_SERVED), pki.server, pki.ca, str(drain_seconds), str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        ports = [int(process.stdout.readline().rpartition(":")[2] or 0) for _ in range(2)]
        if all(ports):
            assert process.stdout.readline() == "ready\n"
        return process, ports[0], ports[1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def _asked(process: Process, port: int, seconds: float) -> socket.socket:
    """Return a connection whose request the application has begun to answer."""
    connection = socket.create_connection(("127.0.0.1", port), 5)
    connection.sendall(b"GET /%g HTTP/1.1\r\nHost: a\r\n\r\n" % seconds)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_in_flight_finish(
    number: signal.Signals, served: Callable[..., tuple[Process, int, int]], pki: SimpleNamespace
) -> None:
    process, api, public = served()
    assert process.stdout is not None
    with (
        _asked(process, public, 0) as idle,
        _asked(process, public, 1) as asking,
        socket.create_connection(("127.0.0.1", api), 5) as raw,
        _client(pki, pki.client).wrap_socket(raw, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert process.stdout.readline() == "begun\n"
        assert idle.recv(1 << 16).endswith(b"done")
        began = time.monotonic()
        process.send_signal(number)
        assert process.stdout.readline() == "draining\n"
        assert idle.recv(1) == b""
        assert time.monotonic() - began < 0.5
        for port in (api, public):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5)
        for connection in (asking, secure):
            got = connection.recv(1 << 16)
            got += connection.recv(1 << 16)
            assert got.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in got
            assert got.endswith(b"done")
    out, err = process.communicate(timeout=5)
    assert (process.returncode, out) == (0, "ended\n")
    assert time.monotonic() - began < 3
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["message"] for line in lines] == ["listening", "listening", "draining", "ended"]
    assert lines[-1]["cut_off"] == 0


def test_the_wait_for_requests_in_flight_is_bounded(served: Callable[..., tuple[Process, int, int]]) -> None:
    process, _, public = served(drain_seconds=0.5)
    with _asked(process, public, 30):
        began = time.monotonic()
        process.terminate()
        process.communicate(timeout=5)
    assert process.returncode == 0
    assert 0.4 < time.monotonic() - began < 3


def test_a_second_signal_ends_the_wait(served: Callable[..., tuple[Process, int, int]]) -> None:
    process, _, public = served(drain_seconds=30)
    assert process.stdout is not None
    with _asked(process, public, 30):
        began = time.monotonic()
        process.terminate()
        assert process.stdout.readline() == "draining\n"
        process.terminate()
        process.communicate(timeout=5)
    assert process.returncode == 0
    assert time.monotonic() - began < 3


def test_a_process_whose_port_is_taken_says_so_and_ends(
    served: Callable[..., tuple[Process, int, int]], listening: Listen
) -> None:
    port = listening()
    process, _, _ = served(port=port)
    _, err = process.communicate(timeout=5)
    assert process.returncode == 1
    assert f"The public PKI listener cannot use 127.0.0.1:{port}: Address already in use" in err
