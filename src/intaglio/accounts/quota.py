"""Quotas: how much an account may have and has had; spending is exact under concurrency."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import msgspec
from sqlalchemy import BigInteger, Column, Connection, ForeignKey, String, Table, bindparam, select, update

from intaglio.database.schema import metadata
from intaglio.database.statement import Statement
from intaglio.errors import QuotaSpent


class Resource(StrEnum):
    """What is counted."""

    SIGNATURES = "signatures"
    TIMESTAMPS = "timestamps"
    IDENTITIES = "identities"


quotas = Table(
    "quotas",
    metadata,
    Column("account_id", String(32), ForeignKey("accounts.id"), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("granted", BigInteger),  # null: counted, not limited
    Column("spent", BigInteger, nullable=False),
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
    ).one()
    return Quota(row.granted, row.spent)


_spend = Statement(
    update(quotas)
    .where(
        quotas.c.account_id == bindparam("account"),
        quotas.c.resource == bindparam("what"),
        quotas.c.granted.is_(None) | (quotas.c.spent + bindparam("amount") <= quotas.c.granted),
    )
    .values(spent=quotas.c.spent + bindparam("amount"))
)


def _take(connection: Connection, account_id: str, resource: Resource, amount: int) -> bool:
    done = _spend.run(connection, [{"account": account_id, "what": resource, "amount": amount}])
    return done.rowcount == 1


def used_up(resource: Resource) -> QuotaSpent:
    """Return the refusal of who has nothing left."""
    wrong = {str(resource): "quota used up: ask for a higher one"}
    return QuotaSpent(f"The account's quota of {resource} is used up.", wrong)


def spend(connection: Connection, resource: Resource, account_ids: Sequence[str]) -> list[QuotaSpent | None]:
    """Spend one for each account named, in order; answer None, or the refusal, for each.

    The comparison is part of the update, so nothing can come between reading and spending.
    """
    granted: dict[str, int] = {}
    for account_id, amount in Counter(account_ids).items():
        if _take(connection, account_id, resource, amount):
            granted[account_id] = amount
            continue
        # Not enough for all of them: as many as there is left for, the earliest first.
        taken = 0
        while taken < amount - 1 and _take(connection, account_id, resource, 1):
            taken += 1
        granted[account_id] = taken
    outcomes: list[QuotaSpent | None] = []
    for account_id in account_ids:
        if granted[account_id] > 0:
            granted[account_id] -= 1
            outcomes.append(None)
        else:
            outcomes.append(used_up(resource))
    return outcomes


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


def give_back(connection: Connection, resource: Resource, account_id: str) -> None:
    """Return one that was spent on something that then failed."""
    connection.execute(
        update(quotas)
        .where(quotas.c.account_id == account_id, quotas.c.resource == resource, quotas.c.spent > 0)
        .values(spent=quotas.c.spent - 1)
    )
