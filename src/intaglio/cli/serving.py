"""Serving, for as long as the process lives: listeners, doors and the service behind them."""

import gc
import logging
from pathlib import Path

import uvloop

from intaglio import logs
from intaglio.accounts.credentials import pem_chain
from intaglio.api import app as doors
from intaglio.api.gate import refusal
from intaglio.cli.terminal import say
from intaglio.keys.priority import wait_turns
from intaglio.server import listener
from intaglio.server.listener import Listener, tls_context
from intaglio.server.protocol import Limits
from intaglio.service.composition import running
from intaglio.service.home import Home, certificate_path, open_home
from intaglio.service.refill import filling
from intaglio.service.sampling import sampling


def serve(path: Path, *, as_json: bool) -> None:
    """Serve from the home at `path` until SIGTERM."""
    wait_turns()
    opened = open_home(path, actor="service", lasting=True)
    logs.configure(opened.settings.log.level)
    uvloop.run(_serve(opened, as_json=as_json))


async def _serve(home: Home, *, as_json: bool) -> None:
    settings = home.settings
    home.certificate("client")  # says which file is missing, where OpenSSL would not
    chain = pem_chain(home.certificate("tls"), home.certificate("server"))
    context = tls_context(chain, home.keyring.key("tls"), certificate_path(home.path, "client"))
    async with running(home) as service, filling(home), sampling(home):
        limits = Limits()
        listeners = [
            Listener(
                "API",
                settings.api.bind,
                settings.api.port,
                doors.api(service),
                limits,
                refusal,
                context,
                settings.limits.connections,
            ),
            Listener(
                "public PKI",
                settings.public.bind,
                settings.public.port,
                doors.public_pki(service),
                limits,
                refusal,
                None,
                settings.limits.connections,
            ),
        ]
        if settings.metrics.port is not None:
            bind, port = settings.metrics.bind, settings.metrics.port
            most = settings.limits.connections
            app = doors.measures(service)
            listeners.append(Listener("metrics", bind, port, app, limits, refusal, None, most))

        def ready() -> None:
            # What exists now stays: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            api_url = f"https://{settings.hosts[0]}:{settings.api.port}/v2"
            say(
                {"api": api_url, "public": settings.public.url},
                f"Serving {api_url} and {settings.public.url} (reference: {settings.public.url}/v2/docs).",
                as_json=as_json,
                then="intaglio account create --help",
            )
            logging.getLogger("intaglio").info("serving", extra={"api": api_url, "public": settings.public.url})

        def drain() -> None:
            service.draining = True

        await listener.serve(listeners, drain_seconds=settings.limits.drain_seconds, on_ready=ready, on_drain=drain)
