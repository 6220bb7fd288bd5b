"""The two calls that come by the thousand, answered without a framework in between.

A signature costs 0.3 ms of RSA; routing, request and response objects would cost half of that again.
"""

import base64
from typing import Any

from intaglio.api import problems
from intaglio.api.authentication import caller
from intaglio.errors import IntaglioError
from intaglio.service.composition import Service
from intaglio.signing.digest import Digest
from intaglio.signing.signature import sign_digest
from intaglio.signing.timestamp import stamp_digest

# To the letter: a PDF library in wide use refuses a response without this charset.
CONTENT_TYPE = "application/json;charset=utf-8"
_CONTENT_TYPE = (b"content-type", CONTENT_TYPE.encode())
_NO_STORE = (b"cache-control", b"no-store")


class Direct:
    """ASGI middleware: `GET /v2/identity/{id}/sign/{digest}` and `GET /v2/timestamp/{digest}` end here."""

    def __init__(self, app: Any, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one of the two calls, or pass the request on."""
        # As the framework routes the other calls: what is empty between slashes counts for nothing.
        match [part for part in scope["path"].split("/") if part]:
            case ["v2", "identity", identity_id, "sign", digest]:
                await self._answer(scope, send, self._sign(scope, identity_id, digest))
            case ["v2", "timestamp", digest]:
                await self._answer(scope, send, self._stamp(scope, digest))
            case _:
                await self._app(scope, receive, send)

    async def _sign(self, scope: Any, identity_id: str, digest: str) -> bytes:
        """Sign a SHA-256 digest with an identity's key; the signature is upper-case hex."""
        who = await caller(self._service, scope)
        request_id = scope["state"]["request_id"]
        found = Digest.from_hex(digest)
        signature = await sign_digest(self._service.engine, who, identity_id, found, request_id)
        return b'{"signature":"%b"}' % signature.hex().upper().encode()

    async def _stamp(self, scope: Any, digest: str) -> bytes:
        """Stamp a SHA-256 digest (RFC 3161); the token is base64 of DER."""
        who = await caller(self._service, scope)
        token = await stamp_digest(self._service.engine, who, Digest.from_hex(digest), scope["state"]["request_id"])
        return b'{"token":"%b"}' % base64.b64encode(token)

    @staticmethod
    async def _answer(scope: Any, send: Any, call: Any) -> None:
        if scope["method"] == "OPTIONS":
            call.close()
            await _send(send, 204, ((b"allow", b"GET, OPTIONS"),), b"")
            return
        if scope["method"] != "GET":
            call.close()
            await problems.send_answer(send, problems.no_method(scope, "GET, OPTIONS"))
            return
        try:
            body = await call
        except IntaglioError as error:
            await problems.send_answer(send, problems.of(error, scope))
        else:
            await _send(send, 200, (_CONTENT_TYPE, _NO_STORE), body)


async def _send(send: Any, status: int, headers: Any, body: bytes) -> None:
    length = () if status == 204 else ((b"content-length", str(len(body)).encode()),)
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})
