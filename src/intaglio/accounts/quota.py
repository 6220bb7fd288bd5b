"""Quotas: how much an account may have and has had, and how fast; spending is exact under concurrency."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import BigInteger, Column, Connection, ForeignKey, String, Table, bindparam, case, select, update

from intaglio.accounts.rates import Limits, Rate, instant, over, room, settled
from intaglio.database.schema import metadata
from intaglio.database.statement import Statement
from intaglio.errors import NotFound, QuotaSpent, RequestRefused


class Resource(StrEnum):
    """What is counted."""

    SIGNATURES = "signatures"
    TIMESTAMPS = "timestamps"
    IDENTITIES = "identities"
    LOGINS = "logins"


quotas = Table(
    "quotas",
    metadata,
    Column("account_id", String(32), ForeignKey("accounts.id"), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("granted", BigInteger),  # null: counted, not limited
    Column("spent", BigInteger, nullable=False),
    Column("tat", BigInteger, nullable=False, server_default="0"),  # theoretical arrival time, see `rates`
)


class Quota(msgspec.Struct, frozen=True):
    """`granted` None means that the resource is counted but not limited."""

    granted: int | None
    spent: int

    @property
    def left(self) -> int | None:
        """What is left, never below zero."""
        return None if self.granted is None else max(0, self.granted - self.spent)


def open_quotas(connection: Connection, account_id: str, granted: dict[Resource, int | None]) -> None:
    """Begin to count for a new account."""
    connection.execute(
        quotas.insert(),
        [
            {"account_id": account_id, "resource": resource, "granted": granted.get(resource), "spent": 0}
            for resource in Resource
        ],
    )


def read(connection: Connection, account_id: str, resource: Resource) -> Quota:
    """Return an account's quota."""
    row = connection.execute(
        select(quotas.c.granted, quotas.c.spent).where(quotas.c.account_id == account_id, quotas.c.resource == resource)
    ).one_or_none()
    # Logins were not counted from the beginning.
    return Quota(None, 0) if row is None else Quota(row.granted, row.spent)


_spend = Statement(
    update(quotas)
    .where(
        quotas.c.account_id == bindparam("account"),
        quotas.c.resource == bindparam("what"),
        quotas.c.granted.is_(None) | (quotas.c.spent + bindparam("amount") <= quotas.c.granted),
        quotas.c.tat <= bindparam("latest", type_=BigInteger),
    )
    .values(
        spent=quotas.c.spent + bindparam("amount"),
        tat=case((quotas.c.tat > bindparam("now", type_=BigInteger), quotas.c.tat), else_=bindparam("now"))
        + bindparam("cost", type_=BigInteger),
    )
)


def _take(connection: Connection, account_id: str, resource: Resource, amount: int, rate: Rate, now: int) -> bool:
    cost = amount * rate.interval
    values = {"amount": amount, "now": now, "cost": cost, "latest": now + rate.window - cost}
    return _spend.run(connection, [{"account": account_id, "what": resource, **values}]).rowcount == 1


def used_up(resource: Resource) -> QuotaSpent:
    """Return the refusal of who has nothing left."""
    wrong = {str(resource): "quota used up: ask for a higher one"}
    return QuotaSpent(f"The account's quota of {resource} is used up.", wrong)


def spend(
    connection: Connection, resource: Resource, wanted: Sequence[tuple[str, Rate]], moment: datetime, limits: Limits
) -> list[RequestRefused | None]:
    """Spend one for each account named, within its rate, in order; answer None, or the refusal, for each.

    The comparison is part of the update, so nothing can come between reading and spending; rows are taken in the order
    of their keys, so that no two processes wait for each other. What the register has of who was too fast is told to
    `limits`.
    """
    now = instant(moment)
    rates = dict(wanted)
    granted: dict[str, int] = {}
    refusals: dict[str, RequestRefused] = {}
    for account_id, amount in sorted(Counter(account_id for account_id, _ in wanted).items()):
        rate = rates[account_id]
        if amount <= rate.burst and _take(connection, account_id, resource, amount, rate, now):
            granted[account_id] = amount
            continue
        granted[account_id], tat = _take_some(connection, account_id, resource, amount, rate, now)
        if tat is None:
            refusals[account_id] = used_up(resource)
        else:
            refusals[account_id] = over(resource, rate, tat + rate.interval - now - rate.window)
            limits.learn(account_id, resource, tat)
    outcomes: list[RequestRefused | None] = []
    for account_id, _ in wanted:
        if granted[account_id] > 0:
            granted[account_id] -= 1
            outcomes.append(None)
        else:
            outcomes.append(refusals[account_id])
    return outcomes


def _take_some(
    connection: Connection, account_id: str, resource: Resource, amount: int, rate: Rate, now: int
) -> tuple[int, int | None]:
    """Spend as many as there are, which are too few; return how many, and the `tat` if the rate is what ended it."""
    here = (quotas.c.account_id == account_id, quotas.c.resource == resource)
    query = select(quotas.c.granted, quotas.c.spent, quotas.c.tat).where(*here).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None and resource == Resource.LOGINS:
        # The account was opened by a version that counted none.
        connection.execute(quotas.insert(), {"account_id": account_id, "resource": resource, "spent": 0})
        return _take_some(connection, account_id, resource, amount, rate, now)
    if row is None:
        raise NotFound("There is no such quota.", {str(resource): "not found"})
    left = amount if row.granted is None else max(0, row.granted - row.spent)
    tat = settled(rate, row.tat, now)
    if tat < row.tat:
        connection.execute(update(quotas).where(*here).values(tat=tat))
    fitting = min(amount, left, room(rate, tat, now))
    if fitting and not _take(connection, account_id, resource, fitting, rate, now):
        fitting = 0
    return fitting, None if fitting == left < amount else tat + fitting * rate.interval


def give_back(connection: Connection, resource: Resource, account_id: str) -> None:
    """Return one that was spent on something that then failed."""
    connection.execute(
        update(quotas)
        .where(quotas.c.account_id == account_id, quotas.c.resource == resource, quotas.c.spent > 0)
        .values(spent=quotas.c.spent - 1)
    )


class Use(msgspec.Struct, frozen=True):
    """How much of a quota is spent: 1.0 is all."""

    account_id: str
    resource: str
    share: float


def most_used(connection: Connection, share: float, most: int) -> list[Use]:
    """Return the quotas of which at least `share` is spent, those of which most is first, and not more than `most`.

    It looks at every quota: for metrics, not for requests.
    """
    used = quotas.c.spent * 1.0 / quotas.c.granted
    rows = connection.execute(
        select(quotas.c.account_id, quotas.c.resource, used.label("share"))
        .where(quotas.c.granted > 0, used >= share)
        .order_by(used.desc())
        .limit(most)
    )
    return [Use(row.account_id, row.resource, float(row.share)) for row in rows]
