"""What the database says of how the service stands, for the metrics; every process of it says the same."""

from datetime import datetime

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import quota
from intaglio.accounts.profiles.register import every_stop
from intaglio.keys.pool import Pool
from intaglio.keys.register import Depth, depths
from intaglio.ledger.tree import Signed, newest, waiting_since
from intaglio.revocation.register import list_times

# Accounts are told of by name from here on, and so many of them: who scrapes keeps a series of each.
QUOTA_SHARE = 0.8
MOST_QUOTAS = 100


class Stored(msgspec.Struct, frozen=True):
    """`lists` are issuer, thisUpdate and nextUpdate of the CRL that each CA published last; `head` is the ledger's.

    `unsigned_since` is when the oldest of its entries under no head was written.
    """

    pool: list[Depth]
    stopped_profiles: int
    quotas: list[quota.Use]
    lists: list[tuple[str, datetime, datetime]]
    head: Signed | None
    unsigned_since: datetime | None


def stored(connection: Connection, pool: Pool, now: datetime) -> Stored:
    """Return how things stand at `now`."""
    return Stored(
        depths(connection, pool.custody.form, pool.rules.marks, now),
        len(every_stop(connection)),
        quota.most_used(connection, QUOTA_SHARE, MOST_QUOTAS),
        list_times(connection),
        newest(connection),
        waiting_since(connection),
    )
