"""The applications behind the listeners: the API and the public PKI."""

import logging
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from intaglio.api import problems, public, reference, v2
from intaglio.api.gate import Gate
from intaglio.errors import IntaglioError, RequestRefused
from intaglio.service.composition import Service

_log = logging.getLogger("intaglio.api")

_WORDS = {
    404: "There is nothing at this address.",
    405: "This address does not take the method.",
    400: "The request cannot be read.",
    413: "The body is too large.",
}


def _refused(request: Request[Any, Any, Any], error: IntaglioError) -> Response[bytes]:
    status = problems.status_of(error)
    fields = problems.fields_of(error)
    description = str(error) if isinstance(error, RequestRefused) else "The service cannot do this now: try again."
    if not isinstance(error, RequestRefused):
        _log.error("%s: %s", type(error).__name__, error, extra={"request_id": request.scope["state"]["request_id"]})
    return _problem(request, status, description, fields)


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    status = min(500, error.status_code)
    description = _WORDS.get(status, problems.TITLES.get(status, "The request cannot be answered."))
    kind = "method" if status == 405 else "url"
    found = _problem(request, status, description, {kind: description})
    if status == 405 and error.headers:
        found.headers.update({name: value for name, value in error.headers.items() if name.lower() == "allow"})
    return found


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.error("unexpected", exc_info=error, extra={"request_id": request.scope["state"]["request_id"]})
    return _problem(request, 500, "Something went wrong here.", {"service": "internal error"})


def _problem(request: Request[Any, Any, Any], status: int, description: str, fields: dict[str, str]) -> Response[bytes]:
    state = request.scope["state"]
    state["refused"] = fields
    body = problems.body(status, str(state["request_id"]), description, fields, request.scope["path"])
    headers = {"content-type": problems.CONTENT_TYPE, **problems.headers_of(status)}
    return Response(body, status_code=status, headers=headers, media_type=problems.CONTENT_TYPE)


def _litestar(service: Service, routes: list[Router | HTTPRouteHandler]) -> Litestar:
    return Litestar(
        route_handlers=routes,
        state=State({"service": service}),
        openapi_config=None,
        logging_config=None,
        debug=False,
        exception_handlers={IntaglioError: _refused, HTTPException: _http, Exception: _unexpected},
        request_max_body_size=64 * 1024,
    )


def api(service: Service) -> Gate:
    """Return the application of the mutual-TLS listener."""
    router = Router("/v2", route_handlers=[*v2.HANDLERS, *reference.HANDLERS])
    return Gate(_litestar(service, [router]), service, json_only=True)


def public_pki(service: Service) -> Gate:
    """Return the application of the public listener."""
    docs = Router("/v2", route_handlers=list(reference.HANDLERS))
    return Gate(_litestar(service, [*public.HANDLERS, docs]), service, json_only=False)
