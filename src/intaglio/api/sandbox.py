"""The calls of test accounts about their sandbox; to everybody else there is nothing at their addresses."""

from collections.abc import Callable
from typing import Any

from litestar import Request, Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler

from intaglio.accounts.rates import rate
from intaglio.api.authentication import caller
from intaglio.api.direct import read_json
from intaglio.api.v2 import answer
from intaglio.service.composition import Service
from intaglio.signing import sandbox
from intaglio.signing.sandbox import State

AnyRequest = Request[Any, Any, Any]

_RATE = rate(5, 100)


@get("/sandbox")
async def show(request: AnyRequest) -> Response[bytes]:
    """Return how the account's sandbox stands."""
    service: Service = request.app.state.service
    who, now = await caller(service, request.scope), service.engine.clock.now()
    return answer(await service.engine.commits.read(lambda c: sandbox.state(c, who.account.id, now)))


@post("/sandbox/clock", status_code=200)
async def advance(request: AnyRequest) -> Response[bytes]:
    """Advance the account's clock."""
    return await _changed(request, sandbox.advance, read_json(await request.body()))


@put("/sandbox/failures")
async def force(request: AnyRequest) -> Response[bytes]:
    """Say what is to fail."""
    return await _changed(request, sandbox.force, read_json(await request.body()))


@delete("/sandbox", status_code=200)
async def reset(request: AnyRequest) -> Response[bytes]:
    """Set the account's clock back to real time, and have nothing fail."""
    return await _changed(request, sandbox.reset)


async def _changed(request: AnyRequest, use_case: Callable[..., State], *sent: Any) -> Response[bytes]:
    """Answer once the account's next request meets the change here; within a second it does elsewhere."""
    service: Service = request.app.state.service
    who, now = await caller(service, request.scope), service.engine.clock.now()
    # Each has a commit that all wait for.
    service.engine.limits.admit(who.account.id, "sandbox", _RATE, now)
    request_id = str(request.scope["state"]["request_id"])
    chain = service.engine.chain
    found = await service.engine.commits.write(lambda c: use_case(c, chain, who.account.id, now, request_id, *sent))
    await service.sessions.refresh()
    return answer(found)


HANDLERS: list[HTTPRouteHandler] = [show, advance, force, reset]
