"""The sandbox of test accounts: a clock of their own, and failures on request; accounts of production have none.

That an account is of test is asked of the register in every function here, so that no door can forget to.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, ForeignKey, Integer, String, Table, bindparam, select

from intaglio.accounts.register import accounts
from intaglio.database.engine import bump_sandboxes
from intaglio.database.schema import metadata
from intaglio.database.statement import Statement
from intaglio.errors import Conflict, ContentRefused, Malformed, NotFound
from intaglio.pki.hierarchy import Hierarchy

# A year: within it are the authorities of a test hierarchy that is a few years old.
MOST_AHEAD = timedelta(days=366)
MOST_REMAINING = 1_000_000


class Failure(StrEnum):
    """What can be had to fail on request."""

    QUOTA_USED_UP = "quota_used_up"
    RATE_LIMITED = "rate_limited"
    KEY_STORE_AWAY = "key_store_away"
    OCSP_UNKNOWN = "ocsp_unknown"


sandboxes = Table(
    "sandboxes",
    metadata,
    Column("account_id", String(32), ForeignKey("accounts.id"), primary_key=True),
    Column("ahead_seconds", BigInteger, nullable=False),
    Column("era", Integer, nullable=False),
)

forced_failures = Table(
    "forced_failures",
    metadata,
    Column("account_id", String(32), ForeignKey("accounts.id"), primary_key=True),
    Column("failure", String(32), primary_key=True),
    Column("remaining", Integer),  # null: until it is taken back
)


class Sandbox(msgspec.Struct, frozen=True):
    """How far an account's clock is ahead, and its era: setting the clock back to real time begins another.

    `failures` says how often each is to happen still, None for always.
    """

    ahead: timedelta = timedelta(0)
    era: int = 0
    failures: Mapping[Failure, int | None] = {}


class Forced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A failure, and how often it is to happen still: None for always."""

    failure: Failure
    remaining: int | None = None


class Failures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is to fail."""

    failures: list[Forced]


class _Advance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    advance_seconds: int


def read_advance(sent: Any) -> timedelta:
    """Return how far decoded JSON wants the clock advanced; raises `Malformed` or `ContentRefused`."""
    try:
        seconds = msgspec.convert(sent, _Advance).advance_seconds
    except msgspec.ValidationError as error:
        raise Malformed("The clock cannot be advanced by this.", {"advance_seconds": str(error)}) from error
    most = MOST_AHEAD // timedelta(seconds=1)
    if not 1 <= seconds <= most:
        raise ContentRefused("The clock cannot be advanced by this.", {"advance_seconds": f"must be from 1 to {most}"})
    return timedelta(seconds=seconds)


def read_failures(sent: Any) -> dict[Failure, int | None]:
    """Return what decoded JSON wants to fail, and how often; raises `Malformed` or `ContentRefused`."""
    try:
        wanted = msgspec.convert(sent, Failures).failures
    except msgspec.ValidationError as error:
        known = ", ".join(Failure)
        raise Malformed("This names no failures.", {"failures": f"{error}; known are {known}"}) from error
    found = {one.failure: one.remaining for one in wanted}
    if len(found) < len(wanted):
        raise ContentRefused("A failure is named twice.", {"failures": "each once"})
    if any(remaining is not None and not 1 <= remaining <= MOST_REMAINING for remaining in found.values()):
        raise ContentRefused("A failure cannot happen so often.", {"remaining": f"must be from 1 to {MOST_REMAINING}"})
    return found


def check_test(connection: Connection, account_id: str) -> None:
    """Raise `NotFound`, worded like any address that leads nowhere, unless the account is of test."""
    found = connection.execute(select(accounts.c.hierarchy).where(accounts.c.id == account_id)).scalar_one_or_none()
    if found != Hierarchy.TEST:
        raise NotFound("There is nothing at this address.", {"url": "There is nothing at this address."})


_clock = Statement(
    select(sandboxes.c.ahead_seconds, sandboxes.c.era).where(sandboxes.c.account_id == bindparam("account"))
)


def clock(connection: Connection, account_id: str) -> tuple[timedelta, int]:
    """Return how far an account's clock is ahead, and its era; asked for each commit of its identities."""
    row = _clock.run(connection, [{"account": account_id}]).one_or_none()
    return (timedelta(0), 0) if row is None else (timedelta(seconds=row.ahead_seconds), row.era)


def find(connection: Connection, account_id: str) -> Sandbox:
    """Return the sandbox of a test account; raises `NotFound`."""
    check_test(connection, account_id)
    ahead, era = clock(connection, account_id)
    failures = connection.execute(
        select(forced_failures.c.failure, forced_failures.c.remaining)
        .where(forced_failures.c.account_id == account_id)
        .order_by(forced_failures.c.failure)
    )
    return Sandbox(ahead, era, {Failure(one.failure): one.remaining for one in failures})


def advance(connection: Connection, account_id: str, by: timedelta) -> Sandbox:
    """Put an account's clock further ahead and return how it stands; raises `NotFound`, or `Conflict` past the most."""
    before = find(connection, account_id)
    ahead = before.ahead + by
    if ahead > MOST_AHEAD:
        left = int((MOST_AHEAD - before.ahead).total_seconds())
        raise Conflict(
            "The clock cannot be that far ahead: set it back to real time first.",
            {"advance_seconds": f"at most {left} more"},
        )
    return _keep(connection, account_id, msgspec.structs.replace(before, ahead=ahead))


def reset(connection: Connection, account_id: str) -> Sandbox:
    """Set an account's clock back to real time, have nothing fail, and return how it stands; raises `NotFound`.

    What was bound to the era before, tokens above all, is over, unless the clock was never ahead in it.
    """
    before = force(connection, account_id, {})
    if not before.ahead:
        return before
    return _keep(connection, account_id, Sandbox(era=before.era + 1))


def force(connection: Connection, account_id: str, failures: Mapping[Failure, int | None]) -> Sandbox:
    """Have just these fail for an account, each so often or always; raises `NotFound`."""
    check_test(connection, account_id)
    connection.execute(forced_failures.delete().where(forced_failures.c.account_id == account_id))
    if failures:
        rows = [{"account_id": account_id, "failure": one, "remaining": left} for one, left in failures.items()]
        connection.execute(forced_failures.insert(), rows)
    bump_sandboxes(connection)
    return find(connection, account_id)


def take(connection: Connection, account_id: str, failure: Failure) -> bool:
    """Return whether something is to fail now, and count it; raises `NotFound`.

    The comparison is part of the update: what is to happen twice happens twice, however many ask at once.
    """
    check_test(connection, account_id)
    here = (forced_failures.c.account_id == account_id, forced_failures.c.failure == failure)
    left = forced_failures.c.remaining
    if connection.execute(forced_failures.update().where(*here, left > 0).values(remaining=left - 1)).rowcount:
        if connection.execute(forced_failures.delete().where(*here, left == 0)).rowcount:
            bump_sandboxes(connection)
        return True
    return connection.execute(select(forced_failures.c.failure).where(*here)).one_or_none() is not None


def _keep(connection: Connection, account_id: str, found: Sandbox) -> Sandbox:
    values = {"ahead_seconds": found.ahead // timedelta(seconds=1), "era": found.era}
    here = sandboxes.update().where(sandboxes.c.account_id == account_id).values(values)
    if connection.execute(here).rowcount == 0:
        connection.execute(sandboxes.insert(), {"account_id": account_id, **values})
    bump_sandboxes(connection)
    return found


def told_by(connection: Connection, account_id: str, now: datetime) -> tuple[datetime, bool, bool]:
    """Return an account's time where it is `now`, whether its certificates are to be unknown, and if so often only.

    Of every account but of test these are `now` and no.
    """
    try:
        found = find(connection, account_id)
    except NotFound:
        return now, False, False
    remaining = found.failures.get(Failure.OCSP_UNKNOWN)
    return now + found.ahead, Failure.OCSP_UNKNOWN in found.failures, remaining is not None
