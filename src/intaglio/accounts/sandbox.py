"""The sandbox of test accounts: each has a clock of its own, ahead of the service's; accounts of production have none.

That an account is of test is asked of the register in every function here, so that no door can forget to.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, ForeignKey, Integer, String, Table, select

from intaglio.accounts.register import accounts
from intaglio.database.engine import bump_sandboxes
from intaglio.database.schema import metadata
from intaglio.errors import Conflict, ContentRefused, Malformed, NotFound
from intaglio.pki.hierarchy import Hierarchy

# A year: within it are the authorities of a test hierarchy that is a few years old.
MOST_AHEAD = timedelta(days=366)

sandboxes = Table(
    "sandboxes",
    metadata,
    Column("account_id", String(32), ForeignKey("accounts.id"), primary_key=True),
    Column("ahead_seconds", BigInteger, nullable=False),
    Column("era", Integer, nullable=False),
)


class Sandbox(msgspec.Struct, frozen=True):
    """How far an account's clock is ahead, and its era: setting the clock back to real time begins another."""

    ahead: timedelta = timedelta(0)
    era: int = 0


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


def check_test(connection: Connection, account_id: str) -> None:
    """Raise `NotFound`, worded like any address that leads nowhere, unless the account is of test."""
    found = connection.execute(select(accounts.c.hierarchy).where(accounts.c.id == account_id)).scalar_one_or_none()
    if found != Hierarchy.TEST:
        raise NotFound("There is nothing at this address.", {"url": "There is nothing at this address."})


def find(connection: Connection, account_id: str) -> Sandbox:
    """Return the sandbox of a test account; raises `NotFound`."""
    check_test(connection, account_id)
    row = connection.execute(select(sandboxes).where(sandboxes.c.account_id == account_id)).one_or_none()
    return Sandbox() if row is None else Sandbox(timedelta(seconds=row.ahead_seconds), row.era)


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
    return _keep(connection, account_id, Sandbox(ahead, before.era))


def reset(connection: Connection, account_id: str) -> Sandbox:
    """Set an account's clock back to real time and return how it stands; raises `NotFound`.

    What was bound to the era before, tokens above all, is over, unless the clock was never ahead in it.
    """
    before = find(connection, account_id)
    if not before.ahead:
        return before
    return _keep(connection, account_id, Sandbox(era=before.era + 1))


def _keep(connection: Connection, account_id: str, found: Sandbox) -> Sandbox:
    values = {"ahead_seconds": found.ahead // timedelta(seconds=1), "era": found.era}
    here = sandboxes.update().where(sandboxes.c.account_id == account_id).values(values)
    if connection.execute(here).rowcount == 0:
        connection.execute(sandboxes.insert(), {"account_id": account_id, **values})
    bump_sandboxes(connection)
    return found


def ahead_of(connection: Connection, account_id: str, now: datetime) -> datetime:
    """Return an account's time where it is `now`: that of every account but of test."""
    query = (
        select(sandboxes.c.ahead_seconds)
        .join(accounts, accounts.c.id == sandboxes.c.account_id)
        .where(sandboxes.c.account_id == account_id, accounts.c.hierarchy == Hierarchy.TEST)
    )
    return now + timedelta(seconds=connection.execute(query).scalar_one_or_none() or 0)
