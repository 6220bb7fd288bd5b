"""Sockets and TLS contexts; several listeners in one event loop, ended together and in order."""

import asyncio
import logging
import os
import secrets
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from intaglio.errors import Conflict
from intaglio.keys.algorithm import PrivateKey
from intaglio.server.protocol import Limits, Refusal, protocol

_log = logging.getLogger("intaglio.server")


@dataclass(frozen=True, slots=True)
class Listener:
    """One address and the application behind it; `tls` None means plain HTTP."""

    name: str
    bind: str
    port: int
    app: Any
    limits: Limits
    refusal: Refusal
    tls: ssl.SSLContext | None = None
    connections: int = 2048


def tls_context(chain: bytes, key: PrivateKey, client_ca: Path) -> ssl.SSLContext:
    """Return a context that demands a client certificate of `client_ca`; TLS 1.2 and 1.3, nothing resumed.

    Python's ssl reads the private key from a file only. It gets one in memory (memfd), encrypted under a passphrase
    that lives for this call, so that the key is never in a file system and never unencrypted outside the process.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=client_ca)
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    # A resumed session shows no certificate check: there are none.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    passphrase = secrets.token_hex(16).encode()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, chain + pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=passphrase)
    finally:
        os.close(descriptor)
    return context


def bind(listener: Listener) -> socket.socket:
    """Return a bound socket; raises `Conflict` when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in listener.bind else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((listener.bind, listener.port))
    except OSError as error:
        made.close()
        raise Conflict(
            f"The {listener.name} listener cannot use {listener.bind}:{listener.port}: {error.strerror}. "
            "Change its port in intaglio.toml, or end what is listening there.",
            {"port": str(error.strerror)},
        ) from error
    made.set_inheritable(False)
    return made


class _Server(uvicorn.Server):
    """uvicorn's server without signal handlers of its own."""

    def install_signal_handlers(self) -> None:
        """Leave signals to `serve`."""


def _server(listener: Listener, drain_seconds: int) -> _Server:
    config = uvicorn.Config(
        listener.app,
        http=protocol(listener.limits, listener.refusal),
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=listener.limits.keep_alive_seconds,
        timeout_graceful_shutdown=drain_seconds,
        limit_concurrency=listener.connections,
        backlog=1024,
    )
    config.load()
    config.ssl = listener.tls
    return _Server(config)


async def serve(
    listeners: Sequence[Listener],
    *,
    drain_seconds: int,
    on_ready: Callable[[], None],
    on_drain: Callable[[], None],
) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in flight finish for at most `drain_seconds`."""
    sockets = [bind(listener) for listener in listeners]
    servers = [_server(listener, drain_seconds) for listener in listeners]
    loop = asyncio.get_running_loop()

    def end() -> None:
        if not any(server.should_exit for server in servers):
            on_drain()
            _log.info("draining")
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    tasks = [
        # Not `serve`, which would take the signals over.
        asyncio.create_task(server._serve([bound]), name=listener.name)  # noqa: SLF001
        for server, bound, listener in zip(servers, sockets, listeners, strict=True)
    ]
    try:
        while not all(server.started for server in servers):
            if any(task.done() for task in tasks):
                break
            await asyncio.sleep(0.01)
        else:
            on_ready()
        await asyncio.gather(*tasks)
    finally:
        end()
        await asyncio.gather(*tasks, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        for bound in sockets:
            bound.close()
