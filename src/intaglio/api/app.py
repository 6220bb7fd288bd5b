"""The applications behind the listeners: the API and the public PKI."""

import logging
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from intaglio.api import metrics, problems, public, reference, sandbox, v2
from intaglio.api.admission import Admission
from intaglio.api.direct import Direct
from intaglio.api.gate import Gate
from intaglio.api.ocsp import Ocsp
from intaglio.api.traced import Traced
from intaglio.errors import IntaglioError
from intaglio.service.composition import Service

Application = Gate | Traced

_log = logging.getLogger("intaglio.api")

_WORDS = {
    404: "There is nothing at this address.",
    400: "The request cannot be read.",
    413: "The body is too large.",
}


def _refused(request: Request[Any, Any, Any], error: IntaglioError) -> Response[bytes]:
    return _response(problems.of(error, request.scope))


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if error.status_code == 405:
        return _response(problems.no_method(request.scope, (error.headers or {}).get("allow", "")))
    status = min(500, error.status_code)
    description = _WORDS.get(status, problems.TITLES.get(status, "The request cannot be answered."))
    return _response(problems.said(request.scope, status, description, {"url": description}))


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    _log.error("unexpected", exc_info=error, extra={"request_id": request.scope["state"]["request_id"]})
    said = problems.said(request.scope, 500, "Something went wrong here.", {"service": "internal error"})
    return _response(said)


def _response(problem: problems.Answer) -> Response[bytes]:
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    return Response(problem.body, status_code=problem.status, headers=headers, media_type=problems.CONTENT_TYPE)


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


def api(service: Service) -> Application:
    """Return the application of the mutual-TLS listener."""
    router = Router("/v2", route_handlers=[*v2.HANDLERS, *sandbox.HANDLERS, *reference.HANDLERS])
    doors = Admission(Direct(_litestar(service, [router]), service), service)
    return _traced(Gate(doors, service, json_only=True), service)


def public_pki(service: Service) -> Application:
    """Return the application of the public listener."""
    docs = Router("/v2", route_handlers=list(reference.HANDLERS))
    doors = Admission(Ocsp(_litestar(service, [*public.HANDLERS, docs]), service), service, health=True)
    return _traced(Gate(doors, service, json_only=False), service)


def _traced(gate: Gate, service: Service) -> Application:
    return gate if service.spans is None else Traced(gate, service.spans, service.home.settings.tracing.sample_ratio)


def health(service: Service) -> Gate:
    """Return the application of the health listener."""
    return Gate(_litestar(service, list(public.HEALTH)), service, json_only=False)


def measures(service: Service) -> Gate:
    """Return the application of the metrics listener."""
    return Gate(_litestar(service, list(metrics.HANDLERS)), service, json_only=False)
