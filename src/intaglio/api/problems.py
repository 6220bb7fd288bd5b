"""Errors as problem+json (RFC 9457) with the members that clients of the API expect."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from intaglio import errors

_log = logging.getLogger("intaglio.api")

CONTENT_TYPE = "application/problem+json;charset=utf-8"


class Problem(msgspec.Struct, frozen=True):
    """The body of every error: `errors` maps a field (or kind) to what is wrong with it."""

    description: str
    id: str
    errors: dict[str, str]
    type: str
    title: str
    status: int
    detail: str
    instance: str


# One row for each kind of error; a test walks the tree and fails on a missing row.
STATUS: Mapping[type[errors.IntaglioError], int] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.NotAllowed: 403,
    errors.AccountNotActive: 403,
    errors.QuotaSpent: 403,
    errors.RateLimited: 429,
    errors.NotVerified: 403,
    errors.NotFound: 404,
    errors.ContentRefused: 422,
    errors.WeakKey: 422,
    errors.Conflict: 409,
    errors.KeyUnavailable: 503,
    errors.StoreUnavailable: 503,
    errors.ClockUntrusted: 503,
    errors.ProviderUnavailable: 503,
    errors.IssuanceRefused: 503,
}

TITLES: Mapping[int, str] = {
    400: "Malformed request",
    401: "Not authenticated",
    403: "Not permitted",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timed out",
    409: "Conflict",
    411: "Length required",
    413: "Content too large",
    414: "URI too long",
    415: "Unsupported media type",
    422: "Request refused",
    429: "Too many requests",
    431: "Header fields too large",
    500: "Internal error",
    503: "Service unavailable",
    505: "HTTP version not supported",
}

_FAULTS: Mapping[type[errors.IntaglioError], str] = {
    errors.KeyUnavailable: "key_store",
    errors.StoreUnavailable: "database",
    errors.ClockUntrusted: "clock",
    errors.ProviderUnavailable: "identity_provider",
    errors.IssuanceRefused: "issuance",
}
RETRY_AFTER_SECONDS = 2


def status_of(error: errors.IntaglioError) -> int:
    """Return the HTTP status of an error of the tree."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def fields_of(error: errors.IntaglioError) -> dict[str, str]:
    """Return what is wrong, by field; a fault of ours names the part and nothing more."""
    if isinstance(error, errors.RequestRefused):
        return error.fields
    return {part: "cannot be trusted now: try again" for kind, part in _FAULTS.items() if isinstance(error, kind)}


def title(status: int) -> str:
    """Return what a status is called."""
    return TITLES.get(status, "Error")


def body(status: int, request_id: str, description: str, fields: Mapping[str, str], path: str) -> bytes:
    """Return the encoded problem."""
    return msgspec.json.encode(
        Problem(
            description=description,
            id=request_id,
            errors=dict(fields),
            type="about:blank",
            title=title(status),
            status=status,
            detail=description,
            instance=path,
        )
    )


def headers_of(status: int) -> dict[str, str]:
    """Return the header fields that a status must come with."""
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="intaglio", error="invalid_token"'}
    if status == 503:
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return {}


class Answer(msgspec.Struct, frozen=True):
    """An error as it is sent; header names are in lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def of(error: errors.IntaglioError, scope: Any) -> Answer:
    """Return the answer to an error of the tree; what is the service's own fault is told to the log only."""
    scope["state"]["reason"] = type(error).__name__
    if isinstance(error, errors.RequestRefused):
        found = said(scope, status_of(error), str(error), error.fields)
        if isinstance(error, errors.TokenMissing):
            # A request without any authentication gets no error code (RFC 6750 §3.1).
            plain = tuple((n, b'Bearer realm="intaglio"' if n == b"www-authenticate" else v) for n, v in found.headers)
            found = msgspec.structs.replace(found, headers=plain)
        if isinstance(error, errors.RateLimited):
            found = msgspec.structs.replace(found, headers=(*found.headers, *_rate_headers(error)))
        return found
    _log.error("%s: %s", type(error).__name__, error, extra={"request_id": scope["state"]["request_id"]})
    return said(scope, status_of(error), "The service cannot do this now: try again.", fields_of(error))


def _rate_headers(error: errors.RateLimited) -> tuple[tuple[bytes, bytes], ...]:
    """Return Retry-After (RFC 9110 §10.2.3) and the limit, of which nothing is left.

    `RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers-10.
    """
    wait = str(error.retry_after_seconds)
    return (
        (b"retry-after", wait.encode()),
        (b"ratelimit-policy", f'"{error.what}";q={error.limit};w={error.window_seconds}'.encode()),
        (b"ratelimit", f'"{error.what}";r=0;t={wait}'.encode()),
    )


def no_method(scope: Any, allowed: str) -> Answer:
    """Return the answer to a method that an address does not take (RFC 9110 §15.5.6)."""
    description = "This address does not take the method."
    found = said(scope, 405, description, {"method": f"{scope['method'][:16]} is not one of {allowed}"})
    return msgspec.structs.replace(found, headers=(*found.headers, (b"allow", allowed.encode())))


async def send_answer(send: Any, answer: Answer) -> None:
    """Send an error as an ASGI response."""
    length = (b"content-length", str(len(answer.body)).encode())
    headers = [*answer.headers, length]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def said(scope: Any, status: int, description: str, fields: Mapping[str, str]) -> Answer:
    """Return an answer, and leave its fields in the request's state for the record."""
    state = scope["state"]
    state["refused"] = dict(fields)
    named = {"content-type": CONTENT_TYPE, **headers_of(status)}
    headers = tuple((name.lower().encode(), value.encode()) for name, value in named.items())
    return Answer(status, headers, body(status, str(state["request_id"]), description, fields, scope["path"]))
