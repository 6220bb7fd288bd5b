"""HTTP/1.1 on uvicorn with limits of our own, and the client certificate shown to the application.

uvicorn alone would hold a half-sent request for ever, take header fields without end, and add trailer fields to the
header fields of the request; no ASGI server hands the application its client's certificate.
"""

import asyncio
import hashlib
from enum import Enum
from typing import Any, ClassVar

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from intaglio.api.peer import CLIENT_CERTIFICATE, CONNECTION, PeerCertificate
from intaglio.server.cork import Cork
from intaglio.server.limits import Limits, fault, field_bytes
from intaglio.server.places import Place, Places
from intaglio.server.refusal import Refusal, response

__all__ = ["LimitedProtocol", "Limits", "Refusal", "protocol"]


class Phase(Enum):
    """What of a request is being read."""

    IDLE = "nothing"
    HEAD = "head"
    BODY = "body"


class LimitedProtocol(HttpToolsProtocol):
    """One connection. `limits` and `refusal` are set on a subclass for each listener."""

    limits: ClassVar[Limits] = Limits()
    refusal: ClassVar[Refusal]
    # Address and port of the client, where a proxy that passes TLS through told them.
    told: tuple[str, int] | None = None
    # The listener's, and this connection's own among those of its address; None for one that is not counted.
    places: Places
    place: Place | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        # uvicorn has its parser drop what follows a request with `Connection: close`, as RFC 9112 §9.6 asks.
        super().__init__(config, server_state, app_state, _loop)
        self._extensions: dict[str, dict[str, object]] = {
            CONNECTION: {"gone": False},
            CLIENT_CERTIFICATE: {"certificate": None, "fault": "is missing"},
        }
        self._phase = Phase.IDLE
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._trailer_bytes = 0
        self._body_bytes = 0
        self._wire_bytes = 0
        # A request's last byte was in the read that is being looked at.
        self._finished = False
        # No further request is read from this connection.
        self._ended = False
        # The cycle whose application runs; uvicorn's `cycle` is the newest, which may still wait in the pipeline.
        self._serving: RequestResponseCycle | None = None
        # A refusal that waits until the responses before it are complete.
        self._last_words: bytes | None = None

    # Connection ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note the peer's certificate and begin to wait for a head."""
        super().connection_made(transport)
        if self.told is not None:
            self.client = self.told
        # uvicorn writes the head and the body of a response apart.
        self.transport = Cork(transport, self.loop)  # type: ignore[assignment]
        tls = transport.get_extra_info("ssl_object")
        der = None if tls is None else tls.getpeercert(binary_form=True)
        if der:
            self._extensions[CLIENT_CERTIFICATE]["certificate"] = PeerCertificate(der, hashlib.sha256(der).hexdigest())
        self._arm()
        self.places.rests(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting, and tell the application that runs."""
        self._ended = True
        self._extensions[CONNECTION]["gone"] = True
        self.places.works(self)
        if self.place is not None:
            self.place.leave()
        self._disarm()
        self._cancel_write_deadline()
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        if self._serving is not None and not self._serving.response_complete:
            self._serving.disconnected = True
            self._serving.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser unless the connection has ended, then set the deadline of what is still missing."""
        self._unset_keepalive_if_required()
        if self._ended:
            return
        self._finished = False
        self._feed(data)
        if self._ended:
            return
        if self._finished:
            if self._phase is Phase.IDLE:
                if not self._busy():
                    # The answer was quicker than the request's last bytes.
                    self._keep_alive()
                return
        elif not self._count(len(data)):
            return
        if self._phase is not Phase.IDLE or not self._busy():
            self._arm()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # An upgrade that is not taken changes nothing (RFC 9110 §7.8): what follows is HTTP/1.1.
            rest = data[int(upgrade.args[0]) :]
            if rest and not self._ended:
                self._feed(rest)
        except httptools.HttpParserError:
            self._refuse(400, "request", "This is not well-formed HTTP/1.1.")

    def _count(self, size: int) -> bool:
        """Add a read that completed no request, and return whether the request is still within its bounds.

        The bytes are counted as they come, since a field or chunk extension without end calls nothing back.
        """
        if self._phase is Phase.BODY:
            self._wire_bytes += size
            # One-byte chunks are six bytes each.
            if self._wire_bytes > 8 * self.limits.body_bytes + self.limits.head_bytes:
                self._refuse(413, "body", "The body is framed in too many bytes.")
        else:
            self._head_bytes += size
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(431, "headers", "The header fields are too large.")
        return not self._ended

    def pause_writing(self) -> None:
        """Give a peer that does not read its response a bounded time."""
        super().pause_writing()
        self._cancel_write_deadline()
        self._write_deadline = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the peer reads."""
        self._cancel_write_deadline()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which no further request began."""
        self._close()

    def shutdown(self) -> None:
        """Take no further request; close at once when no response is due."""
        if self._busy():
            self.cycle.keep_alive = False
        else:
            self._close()

    # Parser callbacks ----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Begin a request with the peer's certificate in its scope."""
        super().on_message_begin()
        self._phase = Phase.HEAD
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]

    def on_url(self, url: bytes) -> None:
        """Refuse a URL that is too long."""
        super().on_url(url)
        if len(self.url) > self.limits.url_bytes:
            self._refuse(414, "url", f"The URL must have at most {self.limits.url_bytes} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header field; drop and count a trailer field, which nobody asked for (RFC 9110 §6.5.1)."""
        if self._phase is Phase.HEAD:
            super().on_header(name, value)
        elif not self._ended:
            self._trailer_bytes += field_bytes(name, value)
            if self._trailer_bytes > self.limits.head_bytes:
                self._refuse(431, "headers", "The trailer fields are too large.")

    def on_headers_complete(self) -> None:
        """Start the request, or queue it behind the one that is being answered."""
        if self._ended:
            return
        wrong = fault(self.parser.get_http_version(), self.headers, self.limits)
        if wrong is not None:
            self._refuse(*wrong)
            return
        if len(self.pipeline) >= self.limits.pipelined:
            # The last one that was taken says `Connection: close`: the client knows what was not (RFC 9112 §9.6).
            self.cycle.keep_alive = False
            self._ended = True
            self._disarm()
            return
        self.places.works(self)
        super().on_headers_complete()
        self._phase = Phase.BODY
        self._body_bytes = self._wire_bytes = self._trailer_bytes = 0
        self._disarm()

    def on_body(self, body: bytes) -> None:
        """Count the body, chunked ones too."""
        if self._ended:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.limits.body_bytes:
            self._refuse(413, "body", f"The body must have at most {self.limits.body_bytes} bytes.")
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here: nothing more is waited for until the next begins."""
        if self._ended:
            return
        self._phase = Phase.IDLE
        self._head_bytes = 0
        self._finished = True
        self._disarm()
        super().on_message_complete()
        self._rest()

    # Responses -----------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Start the next request of the pipeline, say the last words, or wait for more."""
        if self._last_words is not None and not self.pipeline and not self.transport.is_closing():
            self._end(self._last_words)
            return
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
        elif self._phase is not Phase.IDLE and not self._ended:
            self._arm()
        self._rest()

    def _busy(self) -> bool:
        return self._serving is not None and not self._serving.response_complete

    def _rest(self) -> None:
        """Let the connection go if there are too many, once all that was asked on it is answered."""
        if not self._busy() and self._phase is not Phase.BODY and not self._ended:
            self.places.rests(self)

    def unsent(self) -> int:
        """Return how many bytes of responses wait for the peer to read."""
        return self.transport.get_write_buffer_size()

    def cut_off(self) -> None:
        """End at once a connection on which no response is due."""
        self._ended = True
        self._disarm()
        self.transport.abort()

    def _keep_alive(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    # Time ----------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Set the deadline of what is being read, unless there is one or we are the ones who do not read."""
        if self._deadline is None and not self.flow.read_paused:
            seconds = self.limits.body_seconds if self._phase is Phase.BODY else self.limits.head_seconds
            self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._phase is Phase.IDLE:
            self._close()
        else:
            self._refuse(408, "request", f"The {self._phase.value} of the request was not sent in time.")

    # Refusing ------------------------------------------------------------------------------------

    def _refuse(self, status: int, kind: str, description: str) -> None:
        """Answer in the API's error form and end the connection, after the responses that are due before."""
        if self._ended or self.transport.is_closing():
            return
        self._ended = True
        self._disarm()
        refusal, peer = type(self).refusal, self.client[0] if self.client else None
        answer = response(refusal, status, kind, description, peer=peer, fields=self.server_state.default_headers)
        # The refused request may have an application already, that runs or waits for its turn.
        own = self.cycle if self._phase is Phase.BODY else None
        if own is not None and own is self._serving:
            if own.response_started:
                answer = b""
            if not own.response_complete:
                own.disconnected = True
                own.message_event.set()
        elif own is not None:
            self.pipeline.popleft()
        if own is not self._serving and self._busy():
            self._last_words = answer
            self.flow.pause_reading()
        else:
            self._end(answer, linger=status != 408)

    def _end(self, answer: bytes, *, linger: bool = True) -> None:
        """Say the last words; drop what the peer still sends, for a bounded time, so that it can read them."""
        if answer:
            self.transport.write(answer)
        if answer and linger:
            self.flow.resume_reading()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self._deadline = self.loop.call_later(self.limits.linger_seconds, self._close)
        else:
            self._close()

    def _close(self) -> None:
        """Close, and do not wait for ever for a peer that neither reads nor says goodbye."""
        self._ended = True
        self._disarm()
        self.transport.close()
        self._deadline = self.loop.call_later(self.limits.close_seconds, self.transport.abort)


def protocol(limits: Limits, refusal: Refusal) -> type[LimitedProtocol]:
    """Return the protocol class of one listener."""
    return type("ListenerProtocol", (LimitedProtocol,), {"limits": limits, "refusal": staticmethod(refusal)})
