"""What every request passes: an id, the rules of transport, the record of refusals, the access log."""

import logging
import random
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from intaglio.accounts.rates import network
from intaglio.api import problems
from intaglio.api.direct import BODY_METHODS
from intaglio.api.peer import CLIENT_CERTIFICATE, Gone
from intaglio.errors import IntaglioError
from intaglio.ledger.entry import Event
from intaglio.ledger.refusals import REFUSED, Source
from intaglio.logs import AccessLog, struck
from intaglio.service.composition import Service
from intaglio.service.figures import Figures

_log = logging.getLogger("intaglio.api")
_MOST_FIELDS = 16
_LONGEST_NAME = 80
_LONGEST_REASON = 200
_OPERATIONS = frozenset(
    {"login", "identity", "timestamp", "certificate_path", "trustchain", "validationpolicy", "quotas", "counters"}
    | {"sandbox", "ledger", "ocsp", "crl", "ca", "tsa", "healthz", "readyz", "metrics"}
)


class Gate:
    """ASGI middleware around a door; `json_only` holds clients of the API to JSON and to a stated length."""

    def __init__(self, app: Any, service: Service, *, json_only: bool) -> None:
        self._app = app
        self._service = service
        self._json_only = json_only
        self._figures = service.figures
        log = service.home.settings.log
        self._access = AccessLog(wanted=log.access and log.level in {"DEBUG", "INFO"})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let one request through, or answer it here."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        # It is told to everyone and need only be another each time: the system's randomness would be a call of its own.
        request_id = f"{random.getrandbits(64):016x}"
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0
        self._figures.began()

        async def tell(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._json_only and 400 <= status < 500:
                    # A refusal leaves only once its entry is durable; of a flood, it is counted.
                    await self._record(scope, request_id, status)
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        try:
            refusal = self._refusal(scope) if self._json_only else None
            if refusal is not None:
                status, kind, description = refusal
                await problems.send_answer(tell, problems.said(scope, status, description, {kind: description}))
            else:
                await self._app(scope, receive, tell)
        except Gone:
            state["reason"] = Gone.__name__
        except IntaglioError as error:
            # The entry of a refusal could not be written, so the refusal does not leave.
            answer = problems.of(error, scope)
            await problems.send_answer(send, answer)
            status = answer.status
        except Exception:  # the door's edge: nothing of it may reach the caller
            _log.exception("unexpected", extra={"request_id": request_id})
            if status == 0:
                status, description = 500, "Something went wrong here."
                await problems.send_answer(send, problems.said(scope, status, description, {"service": description}))
        finally:
            self._tell(scope, status, time.perf_counter() - began)

    def _tell(self, scope: Any, status: int, seconds: float) -> None:
        """Count a request that is over, and log it."""
        state = scope["state"]
        asked, reason = operation(scope["path"]), state.get("reason")
        if reason is None and status >= 400:
            reason = problems.title(status)
        self._figures.ended(asked, status, seconds, reason)
        request = f"{scope['method']} {scope['path']}"
        self._access.tell(request, state["request_id"], status, seconds, state.get("account"), asked, reason)

    @staticmethod
    def _refusal(scope: Any) -> tuple[int, str, str] | None:
        """Return status, kind and sentence when the transport rules refuse a request."""
        if scope["method"] not in BODY_METHODS:
            return None  # the body of a GET, which some clients send, is ignored
        length: bytes | None = None
        chunked = False
        media_type = b""
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                chunked = True
            elif name == b"content-type":
                media_type = value
        if length is None and not chunked:
            return 411, "content-length", "A Content-Length is required."
        if (chunked or length != b"0") and not _is_json(media_type):
            return 415, "content-type", "The body must be application/json;charset=utf-8."
        return None

    async def _record(self, scope: Any, request_id: str, status: int) -> None:
        state, now = scope["state"], self._service.engine.clock.now()
        account = state.get("account")
        certificate = scope["extensions"][CLIENT_CERTIFICATE]["certificate"]
        peer = (scope.get("client") or ("",))[0]
        if not self._service.refusals.alone(Source(account, network(peer)), status, now):
            return
        await self._service.record(
            Event(
                at=now,
                kind=REFUSED,
                account_id=account,
                request_id=request_id,
                details={
                    "status": status,
                    "method": scope["method"],
                    "path": struck(scope["path"])[:200],
                    "errors": _recorded(state.get("refused", {})),
                    "peer": peer,
                    "client_certificate": None if certificate is None else certificate.sha256,
                },
            )
        )


def operation(path: str) -> str:
    """Return what a path asks for: one of a few words, whatever a caller writes."""
    if path.startswith("/v2/identity/") and "/sign/" in path:
        return "sign"
    parts = path.removeprefix("/v2").split("/", 2)
    return parts[1] if len(parts) > 1 and parts[1] in _OPERATIONS else "other"


def _recorded(fields: dict[str, str]) -> dict[str, str]:
    """Return refused fields as the ledger keeps them: a caller chooses their names, and may choose thousands."""
    kept = {
        struck(name)[:_LONGEST_NAME]: struck(reason)[:_LONGEST_REASON]
        for name, reason in islice(fields.items(), _MOST_FIELDS)
    }
    if len(fields) > _MOST_FIELDS:
        kept["more"] = str(len(fields) - _MOST_FIELDS)
    return kept


def _is_json(media_type: bytes) -> bool:
    """Return whether a Content-Type is JSON in UTF-8, in any spelling that clients use."""
    main, *parameters = media_type.decode("latin-1").lower().split(";")
    if main.strip() != "application/json":
        return False
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('" ') not in {"utf-8", "utf8"}:
            return False
    return True


def refusal(figures: Figures) -> Callable[[int, str, str, str], bytes]:
    """Return what makes, and counts, the body with which a listener refuses what never became a request."""

    def refuse(status: int, kind: str, description: str, request_id: str) -> bytes:
        figures.refused(problems.title(status))
        return problems.body(status, request_id, description, {kind: description}, "")

    return refuse
