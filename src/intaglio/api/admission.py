"""How many requests are worked on at a time: what is beyond is refused at once, before it costs anything.

A request that waits behind so many others that nobody waits for its answer any more is work for nothing. By Little's
law, who is let in waits no longer than so many requests take together.
"""

import logging
import time
from typing import Any

from intaglio.accounts.rates import network
from intaglio.api import problems
from intaglio.api.direct import BODY_METHODS, read_body
from intaglio.api.peer import CLIENT_CERTIFICATE
from intaglio.service.composition import Service

_log = logging.getLogger("intaglio.api")

_WARNING_SECONDS = 10.0
# Of what is free, a source may have this many times: 2 gives one alone two thirds of all.
_SHARE = 2
_FOR_KEYS = ["v2", "identity"]
# Who asks for the process's health must be told even so; it costs nothing that the next who asks would cost again.
_HEALTH = frozenset({"/healthz", "/readyz"})
_READ = frozenset({"GET", "HEAD"})


class Places:
    """The places of those who are let in, fair by source.

    Who has many needs more to be free than who has few (dynamic thresholds, Choudhury and Hahne 1998): the places are
    never all taken by a few sources, so that there is one for who comes new.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._of: dict[str, int] = {}

    def enter(self, source: str) -> bool:
        """Take a place for a source, or return that there is none for it."""
        held = self._of.get(source, 0)
        if held >= _SHARE * (self._most - self._taken):
            return False
        self._taken += 1
        self._of[source] = held + 1
        return True

    def leave(self, source: str) -> None:
        """Give a place back."""
        self._taken -= 1
        held = self._of.pop(source) - 1
        if held:
            self._of[source] = held


class Admission:
    """ASGI middleware around a door: lets so many requests in at a time, and answers the others with 503.

    Identities, which may wait for keys, have places of their own: whoever waits for them keeps no signature waiting.
    """

    def __init__(self, app: Any, service: Service, *, health: bool = False) -> None:
        """Let everybody in who asks for the process's `health`, where that is told."""
        self._app = app
        self._always = _HEALTH if health else frozenset[str]()
        self._sessions = service.sessions
        most = service.home.settings.limits.in_flight
        self._places = Places(most)
        self._places_for_keys = Places(most)
        self._warned = -_WARNING_SECONDS

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let one request in, or refuse it."""
        if scope["path"] in self._always and scope["method"] in _READ:
            await self._app(scope, receive, send)
            return
        if scope["method"] in BODY_METHODS:
            # Who is slow to send takes nobody's place meanwhile.
            receive = await _received(receive)
        for_keys = scope["method"] == "POST" and [one for one in scope["path"].split("/") if one] == _FOR_KEYS
        places = self._places_for_keys if for_keys else self._places
        source = self._source(scope)
        if not places.enter(source):
            self._warn()
            scope["state"]["reason"] = "Overloaded"
            description = "The service has as much to do as it can: try again."
            await problems.send_answer(send, problems.said(scope, 503, description, {"service": "is busy"}))
            return
        try:
            await self._app(scope, receive, send)
        finally:
            places.leave(source)

    def _source(self, scope: Any) -> str:
        """Return for whom a place is taken: the account where it is known, the certificate, or the address's."""
        certificate = scope.get("extensions", {}).get(CLIENT_CERTIFICATE, {}).get("certificate")
        if certificate is None:
            return network((scope.get("client") or ("",))[0])
        return self._sessions.account_of(certificate.sha256) or str(certificate.sha256)

    def _warn(self) -> None:
        now = time.monotonic()
        if now - self._warned >= _WARNING_SECONDS:
            self._warned = now
            _log.warning("requests are refused: as many as allowed are in flight (limits.in_flight)")


async def _received(receive: Any) -> Any:
    """Return a `receive` whose first message is the whole body; raises `Gone` if it did not come whole."""
    whole = {"type": "http.request", "body": await read_body(receive), "more_body": False}
    told = False

    async def again() -> Any:
        nonlocal told
        if told:
            return await receive()
        told = True
        return whole

    return again
