"""OCSP by HTTP (RFC 6960 Appendix A, RFC 5019), answered without a framework in between: it is asked very often."""

import base64
import binascii
import logging
from typing import Any
from urllib.parse import unquote

from intaglio.api import problems
from intaglio.api.caching import cacheable
from intaglio.api.direct import read_body, send_answer
from intaglio.errors import IntaglioError, Malformed
from intaglio.revocation import ocsp
from intaglio.service.composition import Service

_log = logging.getLogger("intaglio.public")

_MEDIA_TYPE = "application/ocsp-response"
_UNKEPT = ((b"content-type", _MEDIA_TYPE.encode()), (b"cache-control", b"no-store"))


class Ocsp:
    """ASGI middleware: `POST /ocsp`, and `GET` or `HEAD` of `/ocsp/` and a request in base64."""

    def __init__(self, app: Any, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a question about a certificate, or pass the request on."""
        path, method = scope["path"], scope["method"]
        if path.rstrip("/") == "/ocsp":
            # Of a POST the body is here before a place is taken; for that of another method a place would wait.
            known = method == "POST"
            await self._answer(scope, send, "POST", known, await read_body(receive) if known else None)
        elif path.startswith("/ocsp/"):
            await self._answer(scope, send, "GET, HEAD", method in {"GET", "HEAD"}, _unfolded(scope["raw_path"]))
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Any, send: Any, allowed: str, known: bool, request: bytes | None) -> None:
        if scope["method"] == "OPTIONS":
            await send_answer(send, 204, ((b"allow", f"{allowed}, OPTIONS".encode()),), b"")
        elif not known:
            await problems.send_answer(send, problems.no_method(scope, f"{allowed}, OPTIONS"))
        else:
            headers, der = await self._told(request, scope["state"])
            await send_answer(send, 200, headers, der, told=scope["method"] != "HEAD")

    async def _told(self, request: bytes | None, state: Any) -> tuple[Any, bytes]:
        engine = self._service.engine
        now = engine.clock.now().replace(microsecond=0)
        if request is None:
            state["reason"] = Malformed.__name__
            return _UNKEPT, ocsp.MALFORMED_REQUEST
        try:
            found = await engine.answers.ocsp(request, now)
        except Malformed:
            state["reason"] = Malformed.__name__
            return _UNKEPT, ocsp.MALFORMED_REQUEST
        except IntaglioError as error:
            state["reason"] = type(error).__name__
            _log.error("no OCSP answer: %s", error)
            return _UNKEPT, ocsp.TRY_LATER
        if not found.current:
            return _UNKEPT, found.der
        return cacheable(found.der, _MEDIA_TYPE, found.this_update, found.next_update, now), found.der


def _unfolded(raw_path: bytes) -> bytes | None:
    """Return the DER that a path has in base64, percent-encoded or not, slashes and all; None if it has none."""
    # The path without its escapes has been folded: the raw one is what was sent.
    text = unquote(raw_path.decode("latin-1").removeprefix("/ocsp/"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
