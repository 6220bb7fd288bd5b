"""The header with which a proxy that passes TLS through tells whose connection it is: the PROXY protocol, 1 and 2.

Source: HAProxy's `proxy-protocol.txt`, §2.1 and §2.2. Whether there is one is not guessed: a configured proxy sends it.
"""

import asyncio
import socket
from ipaddress import ip_address

from intaglio.api.front import plain_address

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LONGEST_LINE = 107
# Addresses and extensions of version 2; more than any proxy sends.
_LONGEST = 2048
_PROXY, _LOCAL = 0x21, 0x20
# Over TCP: family and transport to the length of an address.
_ADDRESS_BYTES = {0x11: 4, 0x21: 16}


async def proxied(connection: socket.socket, seconds: float) -> tuple[str, int] | None:
    """Read the header and nothing after it; return the client's address and port, or None for the proxy's own check.

    Raises `OSError`, and then the connection is closed.
    """
    try:
        async with asyncio.timeout(seconds):
            begin = await _exactly(connection, len(_SIGNATURE))
            if begin == _SIGNATURE:
                return await _binary(connection)
            if begin.startswith(b"PROXY "):
                return await _line(connection, begin)
            raise ValueError("neither version")  # noqa: TRY301 # as what is malformed further on
    except ValueError as error:
        connection.close()
        raise ConnectionAbortedError("a proxy sent no well-formed PROXY header") from error
    except BaseException:
        connection.close()
        raise


async def _binary(connection: socket.socket) -> tuple[str, int] | None:
    command, family, *length = await _exactly(connection, 4)
    size = int.from_bytes(bytes(length))
    if command not in {_PROXY, _LOCAL} or size > _LONGEST:
        raise ValueError("not version 2")
    rest = await _exactly(connection, size)
    address = _ADDRESS_BYTES.get(family)
    if command == _LOCAL or address is None:
        return None
    if size < 2 * address + 4:
        raise ValueError("too short")
    return str(ip_address(rest[:address])), int.from_bytes(rest[2 * address : 2 * address + 2])


async def _line(connection: socket.socket, begin: bytes) -> tuple[str, int] | None:
    # Byte by byte: what follows is TLS's.
    while not begin.endswith(b"\r\n"):
        if len(begin) >= _LONGEST_LINE:
            raise ValueError("no end")
        begin += await _exactly(connection, 1)
    match begin.decode("ascii").split():
        case ["PROXY", "UNKNOWN", *_]:
            return None
        case ["PROXY", "TCP4" | "TCP6", source, _, port, _]:
            return plain_address(source), int(port)
    raise ValueError("not version 1")


async def _exactly(connection: socket.socket, size: int) -> bytes:
    loop, got = asyncio.get_running_loop(), b""
    while len(got) < size:
        piece = await loop.sock_recv(connection, size - len(got))
        if not piece:
            raise ConnectionResetError("the connection ended within its PROXY header")
        got += piece
    return got
