"""Tracing of requests, around a gate: only where it is on."""

import random
from typing import Any

from intaglio.api.gate import operation
from intaglio.spans import Spans


class Traced:
    """ASGI middleware: of all requests, the share `ratio` is recorded, whatever a caller asks for."""

    def __init__(self, app: Any, spans: Spans, ratio: float) -> None:
        self._app = app
        self._spans = spans
        self._ratio = ratio

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let a request through, in a span of its own or without."""
        if scope["type"] != "http" or random.random() >= self._ratio:  # noqa: S311 - a sample keeps no secret
            await self._app(scope, receive, send)
            return
        status = 0

        async def tell(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        traceparent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        asked = operation(scope["path"])
        with self._spans.request(asked, None if traceparent is None else traceparent.decode("latin-1")) as span:
            await self._app(scope, receive, tell)
            # The path is not told: it has digests and identities in it.
            state = scope["state"]
            span.tell(http__request__method=_METHODS.get(scope["method"], "_OTHER"), http__response__status_code=status)
            span.tell(intaglio__operation=asked, intaglio__request_id=state["request_id"])
            if status >= 500:
                span.fail()
            if "reason" in state:
                span.tell(error__type=state["reason"])


# Names as OpenTelemetry's conventions for HTTP have them, of others there is one.
_METHODS = {name: name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")}
