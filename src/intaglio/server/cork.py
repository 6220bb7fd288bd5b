"""Writing once what is written in one turn of the event loop: one TLS record and one system call for a response."""

import asyncio
from typing import Any


class Cork:
    """A transport that gathers what is written until the turn ends; everything else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []

    def write(self, piece: bytes) -> None:
        """Send `piece` with what else is written in this turn."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(piece)

    def write_eof(self) -> None:
        """Send what is held, then the end."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, then close."""
        self._flush()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        """Return the bytes that are held, here or by the transport."""
        return sum(map(len, self._held)) + self._transport.get_write_buffer_size()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, []
            self._transport.write(b"".join(held))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
