"""Serve in a process of its own: `served.py CHAIN CLIENT_CA DRAIN_SECONDS PORT`; tells its URLs on standard output."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from intaglio import logs
from intaglio.errors import Conflict
from intaglio.server.listener import Listener, serve, tls_context
from intaglio.server.protocol import Limits

CHAIN, CLIENT_CA, DRAIN_SECONDS, PORT = sys.argv[1:]


def _tell(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


async def _slow(scope: Any, receive: Any, send: Any) -> None:
    _tell("begun")
    await receive()
    await asyncio.sleep(float(scope["path"][1:]))
    body = b"done"
    fields = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


class _Urls(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "listening":
            _tell(vars(record)["url"])


def _refusal(status: int, kind: str, description: str, request_id: str) -> bytes:
    return f"{status} {kind} {description} {request_id}".encode()


async def main(pem: bytes) -> None:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    context = tls_context(pem, key, Path(CLIENT_CA))
    listeners = [
        Listener("API", "127.0.0.1", 0, _slow, Limits(), _refusal, context),
        Listener("public PKI", "127.0.0.1", int(PORT), _slow, Limits(), _refusal),
    ]
    await serve(
        listeners,
        drain_seconds=float(DRAIN_SECONDS),
        on_ready=lambda _: _tell("ready"),
        on_drain=lambda: _tell("draining"),
    )
    _tell("ended")


if __name__ == "__main__":
    logs.configure("INFO")
    logging.getLogger("intaglio.server").addHandler(_Urls())
    try:
        uvloop.run(main(Path(CHAIN).read_bytes()))
    except Conflict as conflict:
        sys.exit(str(conflict))
