"""Listeners on loopback with an application that tells what it was asked, and a small PKI of its own."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from intaglio.api.front import Networks
from intaglio.server.listener import Endpoint, Listener, tls_context
from intaglio.server.protocol import Limits

QUICK = Limits(
    head_bytes=2048,
    head_fields=16,
    url_bytes=256,
    body_bytes=1024,
    pipelined=4,
    handshake_seconds=0.4,
    head_seconds=0.4,
    body_seconds=0.4,
    keep_alive_seconds=1,
    write_seconds=0.4,
    linger_seconds=0.2,
    close_seconds=0.2,
)


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Tell what was asked; `/slow` takes half a second, `/early` answers before the body is read."""
    body = b""
    if scope["path"] != "/early":
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    peer = scope["extensions"]["intaglio.client_certificate"]["certificate"]
    told = {
        "method": scope["method"],
        "path": scope["path"],
        "body": body.decode("latin-1"),
        "fields": [name.decode() for name, _ in scope["headers"]],
        "certificate": peer.sha256 if peer else None,
        "client": scope["client"],
    }
    content = b"x" * (32 << 20) if scope["path"] == "/large" else json.dumps(told).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": content})


def _refusal(status: int, kind: str, description: str, request_id: str) -> bytes:
    return json.dumps({"status": status, "errors": {kind: description}, "id": request_id}).encode()


def _issue(
    name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
    )
    if issuer:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A CA, a server, a client, and a client of another CA; paths of PEM files, the server's also in memory."""
    folder = tmp_path_factory.mktemp("pki")

    def write(name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None = None) -> Path:
        pem = certificate.public_bytes(Encoding.PEM)
        if key is not None:
            pem += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = folder / name
        path.write_bytes(pem)
        return path

    ca, foreign = _issue("CA"), _issue("CA")
    server, client, stranger = _issue("server", ca), _issue("client", ca), _issue("client", foreign)
    return SimpleNamespace(
        ca=write("ca.pem", ca[0]),
        server=write("server.pem", *server),
        client=write("client.pem", *client),
        stranger=write("stranger.pem", *stranger),
        chain=server[0].public_bytes(Encoding.PEM),
        key=server[1],
        fingerprint=client[0].fingerprint(hashes.SHA256()).hex(),
    )


@pytest.fixture
def quick() -> Limits:
    """Limits that a test can wait for."""
    return QUICK


@pytest.fixture
def listening() -> Iterator[Callable[..., int]]:
    """Start listeners in a thread: `listening(app=, limits=, tls=, connections=, bind=, …)` returns the port."""
    loop = uvloop.new_event_loop()
    endpoints: list[Endpoint] = []
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def start(
        app: Any = _echo,
        limits: Limits = QUICK,
        tls: ssl.SSLContext | None = None,
        connections: int = 64,
        bind: str = "127.0.0.1",
        proxies: Networks = (),
        handshakes: int = 1000,
        trusted: Networks = (),
    ) -> int:
        async def opened() -> int:
            options = (tls, connections, None, proxies, handshakes, trusted)
            listener = Listener("test", bind, 0, app, limits, _refusal, *options)
            endpoint = Endpoint(listener)
            endpoints.append(endpoint)
            endpoint.open()
            return 0 if bind.startswith("/") else int(endpoint.url.rpartition(":")[2])

        return asyncio.run_coroutine_threadsafe(opened(), loop).result(5)

    yield start
    for endpoint in endpoints:
        asyncio.run_coroutine_threadsafe(endpoint.end(), loop).result(5)
        assert endpoint.busy() == 0
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture
def mutual(pki: SimpleNamespace, listening: Callable[..., int]) -> Callable[..., int]:
    """Start a listener with mutual TLS; returns the port."""
    return lambda **options: listening(tls=tls_context(pki.chain, pki.key, pki.ca), **options)


@pytest.fixture
def conversation() -> Callable[..., bytes]:
    """Send bytes over plain TCP, piece by piece, and return all that comes until the other end closes."""

    def hold(port: int, *pieces: bytes, timeout: float = 5.0) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            for piece in pieces:
                connection.sendall(piece)
            return read_all(connection)

    return hold


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other end closes; raises TimeoutError if it does not."""
    got = b""
    while piece := connection.recv(1 << 16):
        got += piece
    return got
