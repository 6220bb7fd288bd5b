"""HTTP/1.1 on uvicorn with limits of our own, and the client certificate shown to the application.

uvicorn alone would hold a half-sent request for ever and take headers without end; no ASGI server hands the
application its client's certificate.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from typing import Any

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from intaglio.api.peer import CLIENT_CERTIFICATE, PeerCertificate

Refusal = Callable[[int, str, str, str], bytes]


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one connection; times in seconds, sizes in bytes."""

    head_bytes: int = 16 * 1024
    head_fields: int = 64
    url_bytes: int = 4096
    body_bytes: int = 64 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    keep_alive_seconds: int = 75


class LimitedProtocol(HttpToolsProtocol):
    """One connection. `limits` and `refusal` are set on a subclass for each listener."""

    limits = Limits()
    refusal: Refusal

    def __init__(
        self,
        config: Config,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # uvicorn turns a leniency of its parser on that a listener of ours does not need.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self._peer: PeerCertificate | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._body_bytes = 0
        self._reading_head = True
        self._refused = False

    # Connection ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the peer's certificate and begin to wait for a head."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        der = None if tls is None else tls.getpeercert(binary_form=True)
        if der:
            self._peer = PeerCertificate(der, hashlib.sha256(der).hexdigest())
        self._wait(self.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._wait(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser unless the connection is already refused."""
        if self._refused:
            return
        if self._reading_head:
            if self._deadline is None:
                self._wait(self.limits.head_seconds)
            self._head_bytes += len(data)
            # The body may come along in the same read; what is too long is cut by its own limit.
            if self._head_bytes > self.limits.head_bytes + self.limits.body_bytes:
                self._refuse(431, "headers", "The header fields are too large.")
                return
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP in the API's error form."""
        self._refuse(400, "request", msg)

    # Parser callbacks ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request with the peer's certificate in its scope."""
        super().on_message_begin()
        self._reading_head = True
        self._body_bytes = 0
        self._head_bytes = 0
        self._fields_bytes = 0
        self.scope["extensions"] = {CLIENT_CERTIFICATE: {"certificate": self._peer}}

    def on_url(self, url: bytes) -> None:
        """Refuse a URL that is too long."""
        super().on_url(url)
        if len(self.url) > self.limits.url_bytes:
            self._refuse(414, "url", "The URL is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the header fields."""
        if self._refused:
            return
        super().on_header(name, value)
        self._fields_bytes += len(name) + len(value) + 4
        if len(self.headers) > self.limits.head_fields or self._fields_bytes > self.limits.head_bytes:
            self._refuse(431, "headers", "The header fields are too many or too large.")

    def on_headers_complete(self) -> None:
        """Start the request, with the time for its body."""
        if self._refused:
            return
        self._reading_head = False
        for name, value in self.headers:
            if name == b"content-length" and (not value.isdigit() or int(value) > self.limits.body_bytes):
                self._refuse(413, "body", f"The body must have at most {self.limits.body_bytes} bytes.")
                return
        self._wait(self.limits.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count the body, chunked ones too."""
        if self._refused:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.limits.body_bytes:
            self._refuse(413, "body", f"The body must have at most {self.limits.body_bytes} bytes.")
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here: nothing more is waited for until the next begins."""
        if self._refused:
            return
        self._reading_head = True
        self._head_bytes = 0
        self._wait(None)
        super().on_message_complete()

    # Refusing ------------------------------------------------------------------------------------

    def _wait(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        self._refuse(408, "request", "The request was not sent in time.")

    def _refuse(self, status: int, kind: str, description: str) -> None:
        if self._refused or self.transport is None or self.transport.is_closing():
            return
        self._refused = True
        self._wait(None)
        busy = self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started
        if not busy:
            request_id = secrets.token_hex(8)
            body = type(self).refusal(status, kind, description, request_id)
            self.transport.write(
                b"".join(
                    (
                        STATUS_LINE[status],
                        b"content-type: application/problem+json;charset=utf-8\r\nx-request-id: ",
                        request_id.encode(),
                        b"\r\nconnection: close\r\ncontent-length: ",
                        str(len(body)).encode(),
                        b"\r\n\r\n",
                        body,
                    )
                )
            )
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


def protocol(limits: Limits, refusal: Refusal) -> type[LimitedProtocol]:
    """Return the protocol class of one listener."""
    return type("ListenerProtocol", (LimitedProtocol,), {"limits": limits, "refusal": staticmethod(refusal)})
