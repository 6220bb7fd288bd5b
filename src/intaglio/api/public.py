"""The public PKI but for OCSP: CRLs, issuer certificates, RFC 3161, and health; plain HTTP, no certificate asked."""

import logging
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from litestar import HttpMethod, Request, Response, post, route
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler

from intaglio.api.caching import cacheable
from intaglio.errors import ClockUntrusted, IntaglioError
from intaglio.ledger import tree
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service.composition import Service
from intaglio.service.heads import verifying_key
from intaglio.signing.timestamp import answer_request
from intaglio.timestamping.tsp import PKIFailure, rejected

AnyRequest = Request[Any, Any, Any]

_log = logging.getLogger("intaglio.public")

# Caches and monitors ask for the head alone, too.
_READ = [HttpMethod.GET, HttpMethod.HEAD]
_REPLY = "application/timestamp-reply"
_TEXT = "text/plain; charset=utf-8"


def _service(request: AnyRequest) -> Service:
    service: Service = request.app.state.service
    return service


def _cacheable(
    content: bytes, media_type: str, this_update: datetime, next_update: datetime, now: datetime
) -> Response[bytes]:
    """Return an answer with the header fields of RFC 5019 §6.2."""
    headers = cacheable(content, media_type, this_update, next_update, now)
    return Response(content, media_type=media_type, headers={name.decode(): value.decode() for name, value in headers})


def _plain(content: bytes, media_type: str) -> Response[bytes]:
    return Response(
        content,
        status_code=200,
        media_type=media_type,
        headers={"content-type": media_type, "cache-control": "no-store"},
    )


@route("/crl/{name:str}", http_method=_READ)
async def crl(request: AnyRequest, name: str) -> Response[bytes]:
    """Return a CA's revocation list, DER."""
    service = _service(request)
    now = service.engine.clock.now()
    found = await service.engine.answers.revocation_list(name.removesuffix(".crl"), now)
    if found is None or not name.endswith(".crl"):
        raise NotFoundException
    return _cacheable(found.der, "application/pkix-crl", found.this_update, found.next_update, now)


@route("/ca/{name:str}", http_method=_READ)
async def issuer(request: AnyRequest, name: str) -> Response[bytes]:
    """Return a CA's certificate, DER (RFC 5280 §4.2.2.1)."""
    service = _service(request)
    found = service.engine.responders.get(name.removesuffix(".crt"))
    if found is None or not name.endswith(".crt"):
        raise NotFoundException
    der = found.issuer.public_bytes(Encoding.DER)
    begin, end = found.issuer.not_valid_before_utc, found.issuer.not_valid_after_utc
    return _cacheable(der, "application/pkix-cert", begin, end, service.engine.clock.now())


async def _stamp(request: AnyRequest, hierarchy: Hierarchy) -> Response[bytes]:
    state = request.scope["state"]
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/timestamp-query":
        return _plain(rejected(PKIFailure.BAD_REQUEST, "send application/timestamp-query"), _REPLY)
    body = await request.body()
    try:
        reply = await answer_request(_service(request).engine, body, hierarchy, str(state["request_id"]))
    except ClockUntrusted as error:
        _log.error("no time-stamp: %s", error)
        reply = rejected(PKIFailure.TIME_NOT_AVAILABLE, "the time cannot be trusted now")
    except IntaglioError as error:
        _log.error("no time-stamp: %s", error)
        reply = rejected(PKIFailure.SYSTEM_FAILURE, "try again later")
    return _plain(reply, _REPLY)


@post("/tsa", status_code=200)
async def tsa(request: AnyRequest) -> Response[bytes]:
    """Time-stamps by HTTP (RFC 3161 §3.4)."""
    return await _stamp(request, Hierarchy.PRODUCTION)


@post("/tsa/test", status_code=200)
async def tsa_test(request: AnyRequest) -> Response[bytes]:
    """The same from the test hierarchy."""
    return await _stamp(request, Hierarchy.TEST)


@route("/ledger/head", http_method=_READ)
async def ledger_head(request: AnyRequest) -> Response[bytes]:
    """Return the newest signed head of the ledger, for whoever keeps heads outside (C2SP tlog-checkpoint)."""
    found = await _service(request).engine.commits.read(tree.newest)
    if found is None:
        raise NotFoundException
    return _plain(found.note.encode(), _TEXT)


@route("/ledger/key", http_method=_READ)
async def ledger_key(request: AnyRequest) -> Response[bytes]:
    """Return the key that heads of the ledger are verified with (C2SP signed-note)."""
    found = verifying_key(_service(request).home)
    if found is None:
        raise NotFoundException
    return _plain(f"{found.text}\n".encode(), _TEXT)


@route("/healthz", http_method=_READ)
async def healthz(request: AnyRequest) -> Response[dict[str, str]]:
    """Say that the process lives."""
    del request
    return Response({"status": "ok"}, headers={"cache-control": "no-store"})


@route("/readyz", http_method=_READ)
async def readyz(request: AnyRequest) -> Response[dict[str, Any]]:
    """Say whether requests should be sent here, and if not, why."""
    troubles = await _service(request).ready()
    status = "ready" if not troubles else "not ready"
    return Response(
        {"status": status, "troubles": troubles},
        status_code=503 if troubles else 200,
        headers={"cache-control": "no-store"},
    )


HEALTH: list[HTTPRouteHandler] = [healthz, readyz]
HANDLERS: list[HTTPRouteHandler] = [crl, issuer, tsa, tsa_test, ledger_head, ledger_key, *HEALTH]
