"""The public PKI: OCSP, CRLs, issuer certificates, RFC 3161, and health; plain HTTP, no certificate asked."""

import base64
import binascii
import hashlib
import logging
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

from cryptography.hazmat.primitives.serialization import Encoding
from litestar import HttpMethod, Request, Response, post, route
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler

from intaglio.errors import ClockUntrusted, IntaglioError, Malformed
from intaglio.pki.hierarchy import Hierarchy
from intaglio.revocation import ocsp
from intaglio.service.composition import Service
from intaglio.signing.timestamp import answer_request
from intaglio.timestamping.tsp import PKIFailure, rejected

AnyRequest = Request[Any, Any, Any]

_log = logging.getLogger("intaglio.public")

# A cache may keep a status this long although it stays current longer: a revocation must get through.
_MOST_CACHED_SECONDS = 3600
# Caches and monitors ask for the head alone, too.
_READ = [HttpMethod.GET, HttpMethod.HEAD]
_OCSP = "application/ocsp-response"
_REPLY = "application/timestamp-reply"


def _service(request: AnyRequest) -> Service:
    service: Service = request.app.state.service
    return service


def _cacheable(
    content: bytes, media_type: str, this_update: datetime, next_update: datetime, now: datetime
) -> Response[bytes]:
    """Return an answer with the header fields of RFC 5019 §6.2."""
    seconds = max(0, min(_MOST_CACHED_SECONDS, int((next_update - now).total_seconds())))
    return Response(
        content,
        media_type=media_type,
        headers={
            "content-type": media_type,
            "cache-control": f"max-age={seconds}, public, no-transform, must-revalidate",
            "last-modified": format_datetime(this_update.replace(microsecond=0), usegmt=True),
            "expires": format_datetime(next_update.replace(microsecond=0), usegmt=True),
            "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
        },
    )


def _plain(content: bytes, media_type: str) -> Response[bytes]:
    return Response(
        content,
        status_code=200,
        media_type=media_type,
        headers={"content-type": media_type, "cache-control": "no-store"},
    )


async def _ocsp(request: AnyRequest, der: bytes) -> Response[bytes]:
    service = _service(request)
    now = service.engine.clock.now().replace(microsecond=0)
    try:
        response = await service.engine.answers.ocsp(der, now)
    except Malformed:
        return _plain(ocsp.MALFORMED_REQUEST, _OCSP)
    except IntaglioError as error:
        _log.error("no OCSP answer: %s", error)
        return _plain(ocsp.TRY_LATER, _OCSP)
    if not response.current:
        return _plain(response.der, _OCSP)
    return _cacheable(response.der, _OCSP, response.this_update, response.next_update, now)


@post("/ocsp", status_code=200)
async def ocsp_post(request: AnyRequest) -> Response[bytes]:
    """OCSP by POST (RFC 6960 §A.1)."""
    return await _ocsp(request, await request.body())


@route("/ocsp/{encoded:path}", http_method=_READ)
async def ocsp_get(request: AnyRequest, encoded: str) -> Response[bytes]:
    """OCSP by GET: base64, percent-encoded or not, slashes and all (RFC 6960 §A.1)."""
    del encoded  # routing has unquoted and folded it: the raw path is what was sent
    raw = request.scope["raw_path"].decode("ascii").removeprefix("/ocsp/")
    text = unquote(raw)
    try:
        der = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return _plain(ocsp.MALFORMED_REQUEST, _OCSP)
    return await _ocsp(request, der)


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


HANDLERS: list[HTTPRouteHandler] = [ocsp_post, ocsp_get, crl, issuer, tsa, tsa_test, healthz, readyz]
