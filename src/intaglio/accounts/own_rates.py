"""Rates of an account's own, which stand above those of the settings."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Column, Connection, Double, ForeignKey, Integer, String, Table, select

from intaglio.accounts import register
from intaglio.accounts.quota import Resource
from intaglio.accounts.rates import Rate, rate
from intaglio.database.engine import bump_revision
from intaglio.database.schema import metadata
from intaglio.errors import Conflict
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain

account_rates = Table(
    "account_rates",
    metadata,
    Column("account_id", String(32), ForeignKey("accounts.id"), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("per_second", Double, nullable=False),
    Column("burst", Integer, nullable=False),
)


def own(connection: Connection, account_id: str) -> dict[Resource, tuple[float, int]]:
    """Return the rates that an account has of its own: so many a second, and at once."""
    query = select(account_rates.c.resource, account_rates.c.per_second, account_rates.c.burst)
    rows = connection.execute(query.where(account_rates.c.account_id == account_id))
    return {Resource(row.resource): (row.per_second, row.burst) for row in rows}


def rates_of(connection: Connection, account_id: str, usual: Mapping[Resource, Rate]) -> Mapping[Resource, Rate]:
    """Return an account's rates where the `usual` ones are these."""
    found = own(connection, account_id)
    return {**usual, **{resource: rate(*one) for resource, one in found.items()}} if found else usual


def set_rate(
    connection: Connection,
    chain: Chain,
    account_id: str,
    resource: Resource,
    wanted: tuple[float, int] | None,
    now: datetime,
) -> None:
    """Give an account a rate of its own, so many a second and at once, or with None the usual one.

    Raises `NotFound`, or `Conflict` when the account is closed.
    """
    account = register.find(connection, account_id)
    if account.state == register.State.CLOSED:
        raise Conflict("The account is closed.", {"account": "closed"})
    here = (account_rates.c.account_id == account_id, account_rates.c.resource == resource)
    connection.execute(account_rates.delete().where(*here))
    told = None
    if wanted is not None:
        told = {"per_second": wanted[0], "burst": wanted[1]}
        connection.execute(account_rates.insert(), {"account_id": account_id, "resource": resource, **told})
    bump_revision(connection)
    details = {"resource": resource, "rate": told}
    chain.append(connection, [Event(now, "account.rated", account_id, resource, None, details)])
