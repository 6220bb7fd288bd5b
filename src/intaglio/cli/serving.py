"""Serving, for as long as the process lives: listeners, doors and the service behind them."""

import gc
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from ipaddress import ip_network
from itertools import repeat
from pathlib import Path

import uvloop

from intaglio import logs
from intaglio.accounts.credentials import pem_chain
from intaglio.api import app as doors
from intaglio.api.front import Front, Networks
from intaglio.api.gate import refusal
from intaglio.cli.supervisor import notify
from intaglio.cli.terminal import say
from intaglio.cli.workers import workers
from intaglio.keys.priority import wait_turns
from intaglio.server import listener
from intaglio.server.listener import Endpoint, Listener, bind, tls_context
from intaglio.server.protocol import Limits
from intaglio.service.child import parent_gone
from intaglio.service.composition import Service, running
from intaglio.service.home import Home, certificate_path, open_home
from intaglio.service.refill import filling
from intaglio.service.sampling import sampling
from intaglio.settings import FrontSettings


def serve(path: Path, *, processes: int = 1, as_json: bool) -> None:
    """Serve from the home at `path` by so many processes, until SIGTERM."""
    uvloop.run(_serve(_opened(path), processes, as_json=as_json))


def serve_beside(path: Path, place: int, sockets: Sequence[socket.socket], told: Callable[[], None]) -> None:
    """Serve at the `sockets` of another process, as the `place`th, until standard input ends or SIGTERM.

    `told` is called when it has begun.
    """
    uvloop.run(_serve_beside(_opened(path), place, sockets, told))


def _opened(path: Path) -> Home:
    wait_turns()
    opened = open_home(path, actor="service", lasting=True)
    logs.configure(opened.settings.log.level)
    return opened


async def _serve(home: Home, processes: int, *, as_json: bool) -> None:
    settings = home.settings
    sockets = [bind(*address) for address in _addresses(home)] if processes > 1 else None
    drain_seconds = settings.limits.drain_seconds
    async with (
        running(home) as service,
        filling(home),
        sampling(home),
        workers(home.path, processes - 1, sockets or (), drain_seconds) as end_workers,
    ):

        def ready() -> None:
            api_url = f"https://{settings.hosts[0]}:{settings.api.port}/v2"
            many = f" by {processes} processes" if processes > 1 else ""
            say(
                {"api": api_url, "public": settings.public.url, "processes": processes},
                f"Serving {api_url} and {settings.public.url}{many} (reference: {settings.public.url}/v2/docs).",
                as_json=as_json,
                then="intaglio account create --help",
            )
            logging.getLogger("intaglio").info("serving", extra={"api": api_url, "public": settings.public.url})
            notify("READY=1")

        def drain() -> None:
            notify("STOPPING=1")
            end_workers()

        await _listen(service, 0, sockets, ready, drain)


async def _serve_beside(home: Home, place: int, sockets: Sequence[socket.socket], told: Callable[[], None]) -> None:
    async with running(home, place=place) as service:
        await _listen(service, place, sockets, told, lambda: None, parent_gone())


def _addresses(home: Home) -> list[tuple[str, str, int]]:
    """Return name, address and port of the listeners that all processes of a node share; the front's is the last."""
    settings, front = home.settings, home.settings.front
    found = [
        ("API", settings.api.bind, settings.api.port),
        ("public PKI", settings.public.bind, settings.public.port),
    ]
    if front is not None and front.socket is not None:
        found.append(("front", str((home.path / front.socket).absolute()), 0))
    elif front is not None and front.port is not None:
        found.append(("front", front.bind, front.port))
    return found


def _front_tls(home: Home, chain: bytes, front: FrontSettings) -> ssl.SSLContext | None:
    """Return what demands the front's own certificate; on a Unix socket, the file system says who may come."""
    if front.port is None or front.ca_file is None:
        return None
    return tls_context(chain, home.keyring.key("tls"), home.path / front.ca_file)


def _networks(texts: Sequence[str]) -> Networks:
    return tuple(map(ip_network, texts))


async def _listen(
    service: Service,
    place: int,
    sockets: Sequence[socket.socket] | None,
    on_ready: Callable[[], None],
    on_drain: Callable[[], None],
    unless: Coroutine[None, None, None] | None = None,
) -> None:
    home, settings = service.home, service.home.settings
    home.certificate("client")  # says which file is missing, where OpenSSL would not
    chain = pem_chain(home.certificate("tls"), home.certificate("server"))
    context = tls_context(chain, home.keyring.key("tls"), certificate_path(home.path, "client"))
    most, limits, refuse = settings.limits.connections, Limits(), refusal(service.figures)
    front = settings.front or FrontSettings()
    api, public, peers = doors.api(service), doors.public_pki(service), _networks(front.peers)
    serving = [
        (api, context, _networks(front.proxy_protocol), ()),
        (Front(public, peers) if peers else public, None, (), peers),
        (Front(api, peers if front.socket is None else None, vouches=True), _front_tls(home, chain, front), (), peers),
    ]
    places = zip(_addresses(home), serving, sockets or repeat(None), strict=False)
    listeners = [
        Listener(*address, app, limits, refuse, tls, most, shared, proxies, settings.limits.handshakes, trusted)
        for address, (app, tls, proxies, trusted), shared in places
    ]
    if settings.health.port is not None and place == 0:
        # Of the node: it ends with its first process.
        bound = settings.health.bind, settings.health.port
        listeners.append(Listener("health", *bound, doors.health(service), limits, refuse, None, most))
    if settings.metrics.port is not None:
        # Figures are of one process, so each has an address of its own for them.
        bound = settings.metrics.bind, settings.metrics.port + place
        listeners.append(Listener("metrics", *bound, doors.measures(service), limits, refuse, None, most))

    def ready(endpoints: Sequence[Endpoint]) -> None:
        service.figures.listeners = endpoints
        # What exists now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        on_ready()

    def drain() -> None:
        service.draining = True
        on_drain()

    seconds = settings.limits.drain_seconds
    await listener.serve(listeners, drain_seconds=seconds, on_ready=ready, on_drain=drain, unless=unless)
