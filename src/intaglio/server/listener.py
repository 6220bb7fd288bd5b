"""Sockets; several listeners in one event loop, ended together and in order."""

import asyncio
import logging
import resource
import signal
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from intaglio.accounts.rates import network
from intaglio.api.front import Networks, within
from intaglio.errors import Conflict
from intaglio.server.places import Place, Places
from intaglio.server.protocol import LimitedProtocol, Limits, Refusal, protocol
from intaglio.server.proxied import proxied
from intaglio.server.tls import failures, tls_context
from intaglio.server.turns import Turns

__all__ = ["Endpoint", "Listener", "bind", "serve", "tls_context"]

_log = logging.getLogger("intaglio.server")

_BACKLOG = 1024
# Accepted between two turns of the event loop.
_ACCEPTED_AT_ONCE = 64
# Of TLS, beyond what the rate allows: what then goes on in between is kept waiting for less than a tenth of a second.
_HANDSHAKES_AT_ONCE = 32
# Without accepting, after the process ran out of file descriptors.
_PAUSE_SECONDS = 0.2
# For the database, the ledger and the threads that sign.
_OTHER_FILES = 256
_POLL_SECONDS = 0.02
_WARNING_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Listener:
    """One address and the application behind it; `tls` None means plain HTTP, `port` 0 any free port.

    An absolute path to `bind` is a Unix socket. `shared` is a socket that is bound there already, at which other
    processes accept connections, too. Connections from `proxies` begin with a PROXY header. So many TLS `handshakes`
    begin in a second. Those from `trusted` addresses are for many clients: they have no share and no turn of their own.
    """

    name: str
    bind: str
    port: int
    app: Any
    limits: Limits
    refusal: Refusal
    tls: ssl.SSLContext | None = None
    connections: int = 2048
    shared: socket.socket | None = None
    proxies: Networks = ()
    handshakes: int = 200
    trusted: Networks = ()


def bind(name: str, address: str, port: int) -> socket.socket:
    """Return a bound socket; raises `Conflict` when the address is taken or not ours."""
    local = address.startswith("/")
    family = socket.AF_UNIX if local else socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if local:
            _bind_file(made, Path(address))
        else:
            made.bind((address, port))
        # Two sockets may be bound to an address before one of them listens.
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise Conflict(
            f"The {name} listener cannot use {address if local else f'{address}:{port}'}: {error.strerror}. "
            "Change its port in intaglio.toml, or end what is listening there.",
            {"port": str(error.strerror)},
        ) from error
    made.setblocking(False)
    return made


def _bind_file(made: socket.socket, path: Path) -> None:
    """Bind to a file for its owner and group, in place of one at which nobody listens any more.

    It is not removed at the end: by then it may be the next process's.
    """
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
    made.bind(str(path))
    # Nobody can connect before it listens.
    path.chmod(0o660)


class Endpoint:
    """A bound listener that accepts connections; it counts them from the first byte of their handshake.

    uvicorn's own server accepts without bound, leaves a handshake 60 seconds and takes the process's signals over:
    of uvicorn only the protocol is used.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._socket = listener.shared or bind(listener.name, listener.bind, listener.port)
        # Who takes one at a time leaves the next to a process that has less to do.
        self._at_once = _ACCEPTED_AT_ONCE if listener.shared is None else 1
        config = uvicorn.Config(
            listener.app,
            http=protocol(listener.limits, listener.refusal),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=listener.limits.keep_alive_seconds,
        )
        config.load()
        self._config = config
        self._state = ServerState()
        # The oldest first.
        self._arrivals: dict[asyncio.Task[None], socket.socket] = {}
        self._places = Places(listener.connections)
        self._turns = Turns(listener.handshakes, _HANDSHAKES_AT_ONCE)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._warned = -_WARNING_SECONDS
        self._draining = False
        # Connections, since it began to listen.
        self.failed_handshakes = 0
        self.turned_away = 0

    @property
    def name(self) -> str:
        """The listener's."""
        return self._listener.name

    @property
    def url(self) -> str:
        """The address it listens on."""
        if self._socket.family == socket.AF_UNIX:
            return f"unix:{self._socket.getsockname()}"
        host, port = self._socket.getsockname()[:2]
        return f"{'https' if self._listener.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def open(self) -> None:
        """Begin to accept."""
        self._tell_date()
        asyncio.get_running_loop().add_reader(self._socket, self._accept)
        _log.info("listening", extra={"listener": self._listener.name, "url": self.url})

    def drain(self) -> None:
        """Accept no more, close what is idle, and let the requests in flight finish."""
        if self._draining:
            return
        self._draining = True
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        for timer in self._timers.values():
            timer.cancel()
        for arrival in self._arrivals:
            arrival.cancel()
        for connection in tuple(self._state.connections):
            connection.shutdown()

    def busy(self) -> int:
        """Return how many connections are open."""
        return len(self._state.connections) + len(self._arrivals)

    def unfinished(self) -> int:
        """Return how many connections are open or requests not ended; a request may outlive its connection."""
        return max(self.busy(), len(self._state.tasks))

    async def end(self) -> None:
        """Cut off whatever is left."""
        self.drain()
        left: set[asyncio.Task[None]] = {*self._state.tasks, *self._arrivals}
        for task in left:
            task.cancel()
        for connection in tuple(self._state.connections):
            connection.transport.abort()
        if left:
            await asyncio.wait(left, timeout=self._listener.limits.close_seconds)
        # Transports tell their protocols in the loop's next turns.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._at_once):
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._warn(f"cannot accept: {error.strerror}")
                self._pause(_PAUSE_SECONDS)
                return
            if self.busy() >= self._listener.connections:
                self.turned_away += 1
                if not self._make_room():
                    connection.close()
                    self._warn("a connection was refused: as many as allowed are open")
                    continue
                self._warn("the oldest idle connection was closed for a new one: as many as allowed are open")
            connection.setblocking(False)
            arrival = loop.create_task(self._connect(connection, address[0] if address else ""))
            self._arrivals[arrival] = connection
            arrival.add_done_callback(self._arrived)

    def _arrived(self, arrival: asyncio.Task[None]) -> None:
        self._arrivals.pop(arrival, None)

    def _make_room(self) -> bool:
        """Cut off a connection without a request, the oldest, or else the oldest whose handshake has not ended."""
        idle = self._places.make_room()
        if idle is not None:
            # Its transport says so only in the loop's next turn.
            self._state.connections.discard(idle)
            return True
        for arrival, connection in self._arrivals.items():
            del self._arrivals[arrival]
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            arrival.cancel()
            return True
        return False

    def _pause(self, seconds: float) -> None:
        """Accept nothing for so long."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._timers["accept"] = loop.call_later(seconds, loop.add_reader, self._socket, self._accept)

    async def _connect(self, connection: socket.socket, peer: str) -> None:
        tls, limits = self._listener.tls, self._listener.limits
        failed: list[ssl.SSLError] = []
        failures.set(failed)
        told: tuple[str, int] | None = None
        place: Place | None = None
        made: LimitedProtocol | None = None
        try:
            if self._listener.proxies and within(peer, self._listener.proxies):
                told = await proxied(connection, limits.handshake_seconds)
                peer = told[0] if told else peer
            if told is not None or not self._trusted(peer):
                place = self._places.take(network(peer))
                if place is None:
                    self.turned_away += 1
                    self._warn("a connection was refused: its address has as many as one may have")
                    return
                if tls is not None:
                    await _spoken(connection, limits.handshake_seconds)
                    await self._turns.wait(network(peer))
            made = self._protocol(told, place)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: made,
                connection,
                ssl=tls,
                ssl_handshake_timeout=limits.handshake_seconds if tls else None,
                ssl_shutdown_timeout=limits.close_seconds if tls else None,
            )
        except OSError as error:
            self.failed_handshakes += 1
            cause = failed[0] if failed else error
            reason = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or str(cause)
            _log.info("handshake failed", extra={"listener": self._listener.name, "peer": peer, "reason": reason})
        finally:
            if made is None:
                connection.close()
            if place is not None and (made is None or made.transport is None):
                place.leave()

    def _trusted(self, peer: str) -> bool:
        """Return whether many clients come by this address: that of a front, or of whoever may use a Unix socket."""
        return not peer or within(peer, self._listener.trusted + self._listener.proxies)

    def _protocol(self, told: tuple[str, int] | None, place: Place | None) -> LimitedProtocol:
        made: LimitedProtocol = self._config.http_protocol_class(  # type: ignore[call-arg, assignment]
            config=self._config, server_state=self._state, app_state={}
        )
        made.told, made.places, made.place = told, self._places, place
        return made

    def _tell_date(self) -> None:
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._timers["date"] = asyncio.get_running_loop().call_later(1, self._tell_date)

    def _warn(self, message: str) -> None:
        now = time.monotonic()
        if now - self._warned >= _WARNING_SECONDS:
            self._warned = now
            _log.warning(message, extra={"listener": self._listener.name, "connections": self.busy()})


async def _spoken(connection: socket.socket, seconds: float) -> None:
    """Return when the peer has begun its handshake; raises `OSError` if it does not."""
    loop = asyncio.get_running_loop()
    spoken = asyncio.Event()
    loop.add_reader(connection, spoken.set)
    try:
        async with asyncio.timeout(seconds):
            await spoken.wait()
    finally:
        loop.remove_reader(connection)


def _allow_files(wanted: int) -> None:
    """Raise the process's own limit on open files, which is often 1,024, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        _log.warning("fewer files may be open than connections are allowed", extra={"files": allowed, "needed": wanted})


async def serve(
    listeners: Sequence[Listener],
    *,
    drain_seconds: float,
    on_ready: Callable[[Sequence[Endpoint]], None],
    on_drain: Callable[[], None],
    unless: Coroutine[None, None, None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in flight finish for at most `drain_seconds`.

    A second signal ends the wait. That `unless` returns, if it is given, is as good as the first.
    Raises `Conflict` when an address cannot be used.
    """
    ending, hurry = asyncio.Event(), asyncio.Event()

    def end() -> None:
        (hurry if ending.is_set() else ending).set()

    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    endpoints: list[Endpoint] = []
    _allow_files(sum(listener.connections for listener in listeners) + _OTHER_FILES)
    try:
        # All addresses are taken before the first connection is.
        for listener in listeners:
            endpoints.append(Endpoint(listener))  # noqa: PERF401 # what is bound must be ended when the next is not
        for number in signals:
            loop.add_signal_handler(number, end)
        for endpoint in endpoints:
            endpoint.open()
        on_ready(endpoints)
        waiting = [asyncio.ensure_future(one) for one in (ending.wait(), unless) if one is not None]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        ending.set()
        for one in waiting:
            one.cancel()
        on_drain()
        _log.info("draining", extra={"connections": sum(endpoint.busy() for endpoint in endpoints)})
        for endpoint in endpoints:
            endpoint.drain()
        until = loop.time() + drain_seconds
        while any(endpoint.unfinished() for endpoint in endpoints) and loop.time() < until and not hurry.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), _POLL_SECONDS)
    finally:
        left = sum(endpoint.unfinished() for endpoint in endpoints)
        for endpoint in endpoints:
            await endpoint.end()
        for number in signals:
            loop.remove_signal_handler(number)
        _log.info("ended", extra={"cut_off": left})
