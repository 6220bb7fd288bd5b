"""Appending to the ledger and reading it back."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Index, LargeBinary, String, Table, desc, func, select, tuple_

from intaglio.database.schema import Instant, metadata
from intaglio.database.statement import Statement
from intaglio.ledger.entry import GENESIS, Entry, Event, chained

ledger = Table(
    "ledger",
    metadata,
    Column("chain", String(64), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("account_id", String(32)),
    Column("reference", String(64)),
    Column("request_id", String(32)),
    Column("body", LargeBinary, nullable=False),
    Column("previous", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Index("ledger_by_reference", "reference"),
)
_insert = Statement(ledger.insert(), [column.name for column in ledger.columns])


class Chain:
    """The chain that this node writes; every append belongs to the transaction it is given."""

    def __init__(self, actor: str, name: str = "main", approval: str | None = None) -> None:
        """Write for `actor`: `service`, `staff:` and the id of a person, or `os:` and the operating system's user.

        With `approval`, every entry says that it was made under it.
        """
        self.actor = actor
        self.name = name
        self.approval = approval
        self._head = Statement(
            select(ledger.c.sequence, ledger.c.hash)
            .where(ledger.c.chain == name)
            .order_by(desc(ledger.c.sequence))
            .limit(1)
        )

    def acting(self, actor: str, approval: str | None = None) -> "Chain":
        """Return the same chain, written for somebody else."""
        return Chain(actor, self.name, approval)

    def append(self, connection: Connection, events: Sequence[Event]) -> list[Entry]:
        """Write `events` in order behind the chain's head and return their entries."""
        # The head is read in the writing transaction: another process (the command line) may
        # have appended to the same chain since.
        head: Any = self._head.run(connection, [{}]).one_or_none()
        sequence, previous = (0, GENESIS) if head is None else (head[0], bytes(head[1]))
        entries: list[Entry] = []
        for event in events:
            sequence += 1
            entry = chained(self.name, sequence, self.actor, event, previous, self.approval)
            previous = entry.hash
            entries.append(entry)
        if entries:
            _insert.run(connection, [_row(entry) for entry in entries])
        return entries

    def last(self, connection: Connection) -> tuple[int, str] | None:
        """Return the number and the kind of the last entry, None in a chain that has none."""
        query = select(ledger.c.sequence, ledger.c.kind).where(ledger.c.chain == self.name)
        found = connection.execute(query.order_by(desc(ledger.c.sequence)).limit(1)).one_or_none()
        return None if found is None else (found.sequence, found.kind)

    def begun(self, connection: Connection) -> bool:
        """Return whether the chain has its first entry."""
        first = select(ledger.c.sequence).where(ledger.c.chain == self.name, ledger.c.sequence == 1)
        return connection.execute(first).one_or_none() is not None


def _row(entry: Entry) -> dict[str, object]:
    event = entry.event
    return {
        "chain": entry.chain,
        "sequence": entry.sequence,
        "at": event.at,
        "kind": event.kind,
        "account_id": event.account_id,
        "reference": event.reference,
        "request_id": event.request_id,
        "body": entry.body,
        "previous": entry.previous,
        "hash": entry.hash,
    }


class Recorded(msgspec.Struct, frozen=True):
    """An entry as it stands in the database, whether or not it is still true.

    The columns from `at` to `request_id` repeat what `body` says, so that it can be searched.
    """

    chain: str
    sequence: int
    at: datetime
    kind: str
    account_id: str | None
    reference: str | None
    request_id: str | None
    body: bytes
    previous: bytes
    hash: bytes


def recorded(connection: Connection, chain: str | None = None) -> Iterator[Recorded]:
    """Yield every entry, oldest first, chain by chain."""
    query = select(ledger).order_by(ledger.c.chain, ledger.c.sequence)
    if chain is not None:
        query = query.where(ledger.c.chain == chain)
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        yield Recorded(*row)


def heads(connection: Connection) -> dict[str, tuple[int, str]]:
    """Return sequence and hash (hex) of the last entry of each chain."""
    last = select(ledger.c.chain, func.max(ledger.c.sequence)).group_by(ledger.c.chain)
    rows = connection.execute(
        select(ledger.c.chain, ledger.c.sequence, ledger.c.hash).where(
            tuple_(ledger.c.chain, ledger.c.sequence).in_(last)
        )
    )
    return {chain: (sequence, bytes(found).hex()) for chain, sequence, found in rows}


def count(connection: Connection, reference: str, kind: str) -> int:
    """Return how many entries of `kind` are about `reference`."""
    query = select(func.count()).select_from(ledger).where(ledger.c.reference == reference, ledger.c.kind == kind)
    return int(connection.execute(query).scalar_one())


class Told(msgspec.Struct, frozen=True):
    """What an entry is about, and its details."""

    reference: str | None
    details: dict[str, Any]


def bodies(connection: Connection, kind: str) -> list[Told]:
    """Return the entries of a kind, oldest first: for kinds that are rare."""
    query = select(ledger.c.body).where(ledger.c.kind == kind).order_by(ledger.c.at, ledger.c.sequence)
    return [msgspec.json.decode(body, type=Told) for (body,) in connection.execute(query)]


def details(connection: Connection, reference: str, kind: str) -> list[dict[str, Any]]:
    """Return the details of the entries of `kind` about `reference`, oldest first."""
    query = select(ledger.c.body).where(ledger.c.reference == reference, ledger.c.kind == kind)
    rows = connection.execute(query.order_by(ledger.c.at, ledger.c.sequence))
    return [msgspec.json.decode(body, type=Told).details for (body,) in rows]


def about(connection: Connection, reference: str, kind: str) -> list[tuple[str, int]]:
    """Return chain and sequence of the entries of `kind` about `reference`, oldest first."""
    query = (
        select(ledger.c.chain, ledger.c.sequence)
        .where(ledger.c.reference == reference, ledger.c.kind == kind)
        .order_by(ledger.c.at)
    )
    return [(chain, sequence) for chain, sequence in connection.execute(query)]


def entries(connection: Connection, reference: str, kind: str) -> list[Recorded]:
    """Return the entries of `kind` about `reference`, oldest first."""
    query = select(ledger).where(ledger.c.reference == reference, ledger.c.kind == kind).order_by(ledger.c.at)
    return [Recorded(*row) for row in connection.execute(query)]


def at_place(connection: Connection, chain: str, sequence: int) -> Recorded | None:
    """Return an entry by its place, None if there is none."""
    row = connection.execute(select(ledger).where(ledger.c.chain == chain, ledger.c.sequence == sequence)).one_or_none()
    return None if row is None else Recorded(*row)


def referring(connection: Connection, reference: str, most: int) -> list[Recorded]:
    """Return up to `most` entries about `reference`, oldest first."""
    query = select(ledger).where(ledger.c.reference == reference).order_by(ledger.c.at, ledger.c.sequence).limit(most)
    return [Recorded(*row) for row in connection.execute(query)]


def of_request(connection: Connection, request_id: str) -> list[Recorded]:
    """Return the entries of a request, oldest first; there is no index for it, so the whole ledger is read."""
    query = select(ledger).where(ledger.c.request_id == request_id).order_by(ledger.c.at, ledger.c.sequence)
    return [Recorded(*row) for row in connection.execute(query)]


def following(
    connection: Connection, chain: str, sequence: int, request_ids: Collection[str], kinds: Collection[str]
) -> list[Recorded]:
    """Return the entries of some requests and kinds behind a place: the chain is read from there, there is no index."""
    query = select(ledger).where(
        ledger.c.chain == chain,
        ledger.c.sequence > sequence,
        ledger.c.kind.in_(kinds),
        ledger.c.request_id.in_(request_ids),
    )
    return [Recorded(*row) for row in connection.execute(query.order_by(ledger.c.sequence))]


def between(connection: Connection, chain: str, first: int, last: int) -> Iterator[Recorded]:
    """Yield the entries of a chain from `first` to `last`."""
    query = select(ledger).where(ledger.c.chain == chain, ledger.c.sequence.between(first, last))
    rows = connection.execute(query.order_by(ledger.c.sequence), execution_options={"yield_per": 1000})
    return (Recorded(*row) for row in rows)


def first_since(connection: Connection, chain: str, since: datetime) -> int | None:
    """Return the number of the first entry of a chain that is not older; the whole chain is looked at."""
    query = select(func.min(ledger.c.sequence)).where(ledger.c.chain == chain, ledger.c.at >= since)
    found: int | None = connection.execute(query).scalar_one()
    return found


def latest(
    connection: Connection, *, most: int, account_id: str | None = None, kind: str | None = None
) -> list[Recorded]:
    """Return the newest `most` entries, oldest first, by account and by kind (or its beginning) if given."""
    query = select(ledger).order_by(desc(ledger.c.at), desc(ledger.c.sequence)).limit(most)
    if account_id is not None:
        query = query.where(ledger.c.account_id == account_id)
    if kind is not None:
        query = query.where(ledger.c.kind.startswith(kind, autoescape=True))
    rows = connection.execute(query).all()
    return [Recorded(*row) for row in reversed(rows)]
