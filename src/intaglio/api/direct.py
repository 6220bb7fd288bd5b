"""The three calls that come by the thousand, answered without a framework in between.

A signature costs 0.3 ms of RSA; routing, request and response objects would cost half of that again.
"""

import base64
from typing import Any

import msgspec

from intaglio.accounts.sessions import Caller
from intaglio.api import problems
from intaglio.api.authentication import caller
from intaglio.api.peer import CONNECTION, Gone
from intaglio.api.verification import presented
from intaglio.errors import IntaglioError, Malformed
from intaglio.ledger.entry import Event
from intaglio.service.composition import Service
from intaglio.signing.digest import Digest
from intaglio.signing.identity import create_identity
from intaglio.signing.signature import sign_digest
from intaglio.signing.timestamp import stamp_digest

# To the letter: a PDF library in wide use refuses a response without this charset.
CONTENT_TYPE = "application/json;charset=utf-8"
_CONTENT_TYPE = (b"content-type", CONTENT_TYPE.encode())
# What a request by them says is in its body; the body of any other is not looked at.
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_NO_STORE = (b"cache-control", b"no-store")


class Direct:
    """ASGI middleware: `POST /v2/identity`, `GET /v2/identity/{id}/sign/{digest}`, `GET /v2/timestamp/{digest}`."""

    def __init__(self, app: Any, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one of the three calls, or pass the request on."""
        # As the framework routes the other calls: what is empty between slashes counts for nothing.
        match [part for part in scope["path"].split("/") if part]:
            case ["v2", "identity", identity_id, "sign", digest]:
                await self._answer(scope, send, "GET", self._sign(scope, identity_id, digest))
            case ["v2", "timestamp", digest]:
                await self._answer(scope, send, "GET", self._stamp(scope, digest))
            case ["v2", "identity"]:
                await self._answer(scope, send, "POST", self._identity(scope, receive))
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

    async def _identity(self, scope: Any, receive: Any) -> bytes:
        """Create an identity: PEM of its certificate, base64 of a DER OCSP response about it."""
        # First: what is slow to come must not be judged by what was true when it began.
        body = await read_body(receive)

        async def who() -> Caller:
            return await caller(self._service, scope)

        found = await who()
        sent = read_json(body or b"null")
        shown = presented(scope["headers"], body)
        request_id = scope["state"]["request_id"]
        made = await create_identity(self._service.engine, found, sent, request_id, shown, again=who)
        # What stands here has no character that JSON writes otherwise, but for the line ends.
        certificate, status = _pem(made.certificate), base64.b64encode(made.ocsp_response)
        return b'{"id":"%b","signing_cert":"%b","ocsp_response":"%b"}' % (made.id.encode(), certificate, status)

    async def _answer(self, scope: Any, send: Any, method: str, call: Any) -> None:
        if scope["method"] == "OPTIONS":
            call.close()
            await send_answer(send, 204, ((b"allow", f"{method}, OPTIONS".encode()),), b"")
            return
        if scope["method"] != method:
            call.close()
            await problems.send_answer(send, problems.no_method(scope, f"{method}, OPTIONS"))
            return
        try:
            body = await call
        except IntaglioError as error:
            await problems.send_answer(send, problems.of(error, scope))
        else:
            await send_answer(send, 200, (_CONTENT_TYPE, _NO_STORE), body)
            if scope["extensions"][CONNECTION]["gone"]:
                await self._undelivered(scope["state"])

    async def _undelivered(self, state: Any) -> None:
        """Have it on record that what the entries of a request tell of was made and reached nobody."""
        now = self._service.engine.clock.now()
        await self._service.record(Event(now, "response.undelivered", state.get("account"), None, state["request_id"]))


def read_json(body: bytes) -> Any:
    """Return a decoded body; raises `Malformed`."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("The body is not JSON.", {"body": "is not JSON"}) from error
    except RecursionError as error:
        raise Malformed("The body is nested too deeply.", {"body": "is nested too deeply"}) from error


def _pem(certificate: bytes) -> bytes:
    """Return a certificate, DER, in PEM (RFC 7468 §5), as a JSON string has it."""
    text = base64.b64encode(certificate)
    lines = [text[place : place + 64] for place in range(0, len(text), 64)]
    return b"-----BEGIN CERTIFICATE-----\\n%b\\n-----END CERTIFICATE-----\\n" % b"\\n".join(lines)


async def read_body(receive: Any) -> bytes:
    """Return the whole body of a request, which the listener has bounded; raises `Gone` if it did not come whole."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def send_answer(send: Any, status: int, headers: Any, body: bytes, *, told: bool = True) -> None:
    """Send a whole answer, or for HEAD, without being `told`, all but its body."""
    length = () if status == 204 else ((b"content-length", str(len(body)).encode()),)
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body if told else b""})
