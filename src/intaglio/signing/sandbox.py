"""Use cases of test accounts: advance the account's clock, have things fail, put everything back, see how it stands."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import sandbox
from intaglio.accounts.sandbox import MOST_AHEAD, Failure, Forced, Sandbox
from intaglio.errors import Conflict
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.signing import register

# Every one has to be written anew when the clock is set, while others, of production too, wait to write.
_MOST_ALIVE = 200


class State(msgspec.Struct, frozen=True):
    """How a sandbox stands: what is known of it, and the most that can be asked for."""

    real_time: datetime
    account_time: datetime
    ahead_seconds: int
    failures: list[Forced]
    most_ahead_seconds: int = int(MOST_AHEAD.total_seconds())
    possible_failures: tuple[Failure, ...] = tuple(Failure)


def state(connection: Connection, account_id: str, now: datetime) -> State:
    """Return how the sandbox of a test account stands; raises `NotFound`."""
    return _state(sandbox.find(connection, account_id), now)


def advance(
    connection: Connection, chain: Chain, account_id: str, now: datetime, request_id: str | None, sent: Any
) -> State:
    """Advance the clock of a test account as decoded JSON asks; raises `NotFound`, or what refuses the content.

    1. the clock is put further ahead; 2. identities end as much earlier in real time, by which everything is kept, so
    that their keys are destroyed when the account's time says so; 3. the entry is written.
    """
    sandbox.check_test(connection, account_id)
    by = sandbox.read_advance(sent)
    # 1
    found = sandbox.advance(connection, account_id, by)
    # 2
    ends = [(identity_id, end - by) for identity_id, end in _alive(connection, account_id, now)]
    register.end_earlier(connection, ends)
    # 3
    details = {"by_seconds": by // timedelta(seconds=1), "ahead_seconds": found.ahead // timedelta(seconds=1)}
    chain.append(connection, [Event(now, "sandbox.advanced", account_id, None, request_id, details)])
    return _state(found, now)


def reset(connection: Connection, chain: Chain, account_id: str, now: datetime, request_id: str | None) -> State:
    """Set the clock of a test account back to real time, and have nothing fail; raises `NotFound` or `Conflict`.

    1. the clock is set back, and no failure remains; 2. identities are over, all of them: what was made by another
    clock must not live by this one; 3. the entry is written. Tokens are over, too (`sessions`).
    """
    before = sandbox.find(connection, account_id)
    # 1
    found = sandbox.reset(connection, account_id)
    if found.era != before.era:
        # 2
        over = now - timedelta(microseconds=1)
        register.end_earlier(connection, [(one, over) for one, _ in _alive(connection, account_id, now)])
    # 3
    details = {"ahead_seconds": before.ahead // timedelta(seconds=1)}
    chain.append(connection, [Event(now, "sandbox.reset", account_id, None, request_id, details)])
    return _state(found, now)


def force(
    connection: Connection, chain: Chain, account_id: str, now: datetime, request_id: str | None, sent: Any
) -> State:
    """Have just those things fail for a test account that decoded JSON names; raises `NotFound`, or what refuses it.

    1. what was to fail before is forgotten, and this in its place; 2. the entry is written.
    """
    sandbox.check_test(connection, account_id)
    # 1
    found = sandbox.force(connection, account_id, sandbox.read_failures(sent))
    # 2
    chain.append(
        connection, [Event(now, "sandbox.failures", account_id, None, request_id, {"failures": dict(found.failures)})]
    )
    return _state(found, now)


def _alive(connection: Connection, account_id: str, now: datetime) -> list[tuple[str, datetime]]:
    found = register.live(connection, account_id, now, _MOST_ALIVE + 1)
    if len(found) > _MOST_ALIVE:
        raise Conflict(
            "Too many identities are alive: wait until some are over.", {"identities": f"more than {_MOST_ALIVE}"}
        )
    return found


def _state(found: Sandbox, now: datetime) -> State:
    failures = [Forced(failure, remaining) for failure, remaining in found.failures.items()]
    return State(now, now + found.ahead, found.ahead // timedelta(seconds=1), failures)
