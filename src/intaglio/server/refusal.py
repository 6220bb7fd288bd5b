"""The response to what never became a request of an application."""

import logging
import secrets
from collections.abc import Callable, Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

_log = logging.getLogger("intaglio.server")

# From status, kind, description and request id to the body of a refusal, problem+json.
Refusal = Callable[[int, str, str, str], bytes]


def response(
    refusal: Refusal,
    status: int,
    kind: str,
    description: str,
    *,
    peer: str | None,
    fields: Sequence[tuple[bytes, bytes]],
) -> bytes:
    """Return a whole response that ends its connection, logged under the id that it states; `fields` stand first."""
    request_id = secrets.token_hex(8)
    _log.info("refused", extra={"request_id": request_id, "status": status, "kind": kind, "peer": peer})
    body = refusal(status, kind, description, request_id)
    stated = [
        *fields,
        (b"content-type", b"application/problem+json;charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    return b"%s%s\r\n%s" % (STATUS_LINE[status], b"".join(b"%s: %s\r\n" % field for field in stated), body)
