"""What heads are sent to: a webhook, and a foreign time-stamping authority; neither is waited for by anybody."""

import asyncio
import logging
import secrets
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import httpx
from sqlalchemy import Connection

from intaglio.errors import Malformed, ProviderUnavailable
from intaglio.ledger import outside, stamps, tree
from intaglio.ledger.stamps import Stamp
from intaglio.ledger.tree import Signed
from intaglio.service.home import Home
from intaglio.service.stamping import entry_of, foreign_roots, imprint
from intaglio.signing.engine import Engine
from intaglio.timestamping import token, tsp

_log = logging.getLogger("intaglio.ledger")

WEBHOOK_SECONDS = 1.0
FOREIGN_SECONDS = 15.0
_PATIENCE_SECONDS = 10.0
# After a failure it is waited twice as long as before, up to so long.
_MOST_SECONDS = 60.0
_MOST_BYTES = 64 * 1024
# By how much a foreign clock may differ from ours.
_APART = timedelta(minutes=5)


class Elsewhere:
    """Sends over HTTP, bounded in time and size; no proxy and no password comes from the environment."""

    def __init__(self, home: Home) -> None:
        trusted = home.settings.ledger.ca_file
        self._trusted = None if trusted is None else home.path / trusted
        self._context: ssl.SSLContext | None = None

    async def post(self, url: str, content: bytes, media_type: str) -> bytes:
        """Return the answer's body; raises `ProviderUnavailable`."""
        found = b""
        try:
            if self._context is None:
                # Reading the system's CAs takes a while.
                self._context = await asyncio.to_thread(ssl.create_default_context, cafile=self._trusted)
            headers = {"content-type": media_type, "accept-encoding": "identity"}
            async with (
                asyncio.timeout(_PATIENCE_SECONDS),
                httpx.AsyncClient(verify=self._context, timeout=_PATIENCE_SECONDS, trust_env=False) as client,
                client.stream("POST", url, content=content, headers=headers) as answer,
            ):
                if not answer.is_success:
                    raise ProviderUnavailable(f"{url} answers {answer.status_code}")
                async for part in answer.aiter_raw():
                    found += part
                    if len(found) > _MOST_BYTES:
                        raise ProviderUnavailable(f"{url} answers with more than {_MOST_BYTES} bytes")
        except (OSError, TimeoutError, httpx.HTTPError) as error:
            raise ProviderUnavailable(f"{url} cannot be reached: {error or type(error).__name__}") from error
        return found


def post_heads(home: Home, engine: Engine) -> Callable[[], Awaitable[None]]:
    """Return what posts the newest head, and the newest stamp, to the webhook, each time it is called.

    The newest head is over everything that those before are: what could not be sent is not kept for later.
    """
    url, elsewhere = home.settings.ledger.webhook, Elsewhere(home)
    loop = asyncio.get_running_loop()
    sent: dict[str, int] = {"head": 0, "stamp": 0}
    pause, until = WEBHOOK_SECONDS, 0.0

    async def work() -> None:
        nonlocal pause, until
        if url is None or loop.time() < until:
            return
        head, stamp = await engine.commits.read(lambda c: (tree.newest(c), stamps.latest(c)))
        try:
            for name, one in (("head", head), ("stamp", stamp)):
                if one is not None and one.size > sent[name]:
                    line = outside.line_of(one)
                    await elsewhere.post(url, line, "application/json")
                    sent[name] = one.size
        except ProviderUnavailable as error:
            pause = min(2 * pause, _MOST_SECONDS)
            until = loop.time() + pause
            _log.warning("the head is posted again in %s s: %s", int(pause), error)
        else:
            pause = WEBHOOK_SECONDS

    return work


def stamp_elsewhere(home: Home, engine: Engine) -> Callable[[], Awaitable[None]]:
    """Return what has a foreign authority stamp the head that ours stamped last, each time it is called."""
    url, elsewhere = home.settings.ledger.foreign_tsa, Elsewhere(home)

    async def work() -> None:
        head = None if url is None else await engine.commits.read(_due)
        if url is not None and head is not None:
            await _stamp(home, engine, elsewhere, url, head)

    return work


def _due(connection: Connection) -> Signed | None:
    ours, foreign = stamps.latest(connection), stamps.latest(connection, foreign=True)
    if ours is None or (foreign is not None and foreign.size >= ours.size):
        return None
    return tree.signed(connection, ours.size)


async def _stamp(home: Home, engine: Engine, elsewhere: Elsewhere, url: str, head: Signed) -> None:
    """Have `url` stamp a head; raises `ProviderUnavailable`, also for a stamp that does not hold."""
    digest, nonce = imprint(head.note), secrets.randbits(64)
    asked = tsp.request(tsp.sha256_imprint(digest), nonce)
    answer = await elsewhere.post(url, asked, "application/timestamp-query")
    now = engine.clock.now()
    try:
        der = tsp.answered(answer)
        found = token.opened(der)
        token.check_chain(found, foreign_roots(home))
        _check(found, digest, nonce, now)
    except Malformed as error:
        raise ProviderUnavailable(f"{url} gave no stamp that holds: {error.fields}") from error
    made = Stamp(head.size, url, now, der)
    event = entry_of(made, found)

    def write(connection: Connection) -> None:
        stamps.add(connection, made)
        engine.chain.append(connection, [event])

    await engine.commits.write(write)
    await outside.keep(home.path / home.settings.ledger.heads, made)


def _check(found: token.Token, digest: bytes, nonce: int, now: datetime) -> None:
    if found.imprint != digest or found.nonce != nonce:
        raise Malformed("The time-stamp is not the one that was asked for.", {"stamp": "another imprint or nonce"})
    if abs(found.time - now) > _APART:
        raise Malformed("The time-stamp is of another time.", {"stamp": f"{found.time} and {now} are too far apart"})
