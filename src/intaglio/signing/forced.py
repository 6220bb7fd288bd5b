"""Failures that a test account asked for: each answered as the real one, recorded, and marked as forced."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from intaglio.accounts import quota, sandbox
from intaglio.accounts.quota import Resource
from intaglio.accounts.rates import over
from intaglio.accounts.sandbox import Failure
from intaglio.accounts.sessions import Caller
from intaglio.errors import IntaglioError, KeyUnavailable
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.signing.engine import Engine


async def check_rate(engine: Engine, caller: Caller, resource: Resource, request_id: str) -> None:
    """Raise `RateLimited` if that is what is to happen, before anything else does."""
    if await to_fail(engine, caller, Failure.RATE_LIMITED, resource, request_id):
        rate = caller.rates[resource]
        raise over(resource, rate, rate.interval)


async def check_means(engine: Engine, caller: Caller, resource: Resource, request_id: str) -> None:
    """Raise `QuotaSpent` or `KeyUnavailable` if that is what is to happen, once nothing is wrong with the request."""
    means: tuple[tuple[Failure, IntaglioError], ...] = (
        (Failure.QUOTA_USED_UP, quota.used_up(resource)),
        (Failure.KEY_STORE_AWAY, KeyUnavailable(f"the sandbox of {caller.account.id} has the key store away")),
    )
    for failure, error in means:
        if await to_fail(engine, caller, failure, resource, request_id):
            raise error


async def to_fail(engine: Engine, caller: Caller, failure: Failure, resource: Resource, request_id: str) -> bool:
    """Return whether something is to fail now; if so, it is counted and on record already."""
    if failure not in caller.forced:
        return False
    now = engine.clock.now()
    said = {"resource": resource, **caller.beside(now)}
    return await engine.commits.write(
        lambda c: taken(c, engine.chain, caller.account.id, failure, now, request_id, said)
    )


def taken(
    connection: Connection,
    chain: Chain,
    account_id: str,
    failure: Failure,
    now: datetime,
    request_id: str | None,
    details: dict[str, Any],
) -> bool:
    """Count a failure that is to happen and write its entry; return False if it is not to happen (any more)."""
    found = sandbox.take(connection, account_id, failure)
    if found:
        chain.append(connection, [Event(now, "failure.forced", account_id, failure, request_id, details)])
    return found
