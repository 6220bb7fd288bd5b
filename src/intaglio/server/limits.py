"""Bounds of one connection, and which request heads are taken within them."""

from collections.abc import Sequence

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one connection; times in seconds, sizes in bytes."""

    head_bytes: int = 16 * 1024
    head_fields: int = 64
    url_bytes: int = 4096
    body_bytes: int = 64 * 1024
    pipelined: int = 64
    handshake_seconds: float = 10.0
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    keep_alive_seconds: int = 75
    # How long a peer may leave a response unread.
    write_seconds: float = 30.0
    # How long a refused peer may go on sending: a socket that is closed with bytes unread takes the answer with it.
    linger_seconds: float = 1.0
    close_seconds: float = 2.0


def field_bytes(name: bytes, value: bytes) -> int:
    """Return what a field takes with its colon, space and end of line."""
    return len(name) + len(value) + 4


def fault(version: str, fields: Sequence[tuple[bytes, bytes]], limits: Limits) -> tuple[int, str, str] | None:
    """Return status, kind and sentence of what is wrong with a head that llhttp takes; names are in lower case."""
    if version not in {"1.1", "1.0"}:
        return 505, "version", "This is neither HTTP/1.1 nor HTTP/1.0."
    hosts = codings = size = 0
    for name, value in fields:
        size += field_bytes(name, value)
        if name == b"host":
            hosts += 1
        elif name == b"content-length" and int(value) > limits.body_bytes:
            return 413, "body", f"The body must have at most {limits.body_bytes} bytes."
        elif name == b"transfer-encoding":
            codings += 1
            # Any other coding, and any at all in HTTP/1.0, is framed differently by different readers (RFC 9112 §6.1).
            if codings > 1 or version == "1.0" or value.strip().lower() != b"chunked":
                return 400, "transfer-encoding", "The only transfer coding is chunked."
    if len(fields) > limits.head_fields or size > limits.head_bytes:
        return 431, "headers", "The header fields are too many or too large."
    # RFC 9112 §3.2
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return 400, "host", "One Host is required."
    return None
