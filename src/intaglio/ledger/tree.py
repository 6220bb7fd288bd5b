"""The tree over all chains, at rest: which entry is which leaf, the tiles, and the signed heads."""

import hmac
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    desc,
    func,
    select,
    text,
    update,
)

from intaglio.database.schema import Instant, metadata
from intaglio.errors import Conflict
from intaglio.ledger import merkle
from intaglio.ledger.merkle import Place
from intaglio.ledger.writer import ledger

# One row for each time that something of a chain was taken in: its entries `first` to `last` are leaves from `leaf` on.
leaves = Table(
    "ledger_leaves",
    metadata,
    Column("leaf", BigInteger, primary_key=True, autoincrement=False),
    Column("chain", String(64), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Index("ledger_leaves_by_chain", "chain", "first", unique=True),
)
tiles = Table(
    "ledger_tiles",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)
# The newest says how large the tree is.
heads = Table(
    "ledger_heads",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("note", Text, nullable=False),
)

# Every chain, by one step in the index for each however long it is; then of each its newest entry, or its first that
# is no leaf.
_EACH = """
    WITH RECURSIVE chains(chain) AS (
        SELECT min(chain) FROM ledger
        UNION ALL
        SELECT (SELECT min(chain) FROM ledger WHERE chain > chains.chain) FROM chains WHERE chain IS NOT NULL
    )
"""
_CHAINS = text(
    _EACH  # noqa: S608 - of constants, here and below
    + """
    SELECT chain, (SELECT max(sequence) FROM ledger WHERE ledger.chain = chains.chain) FROM chains
    WHERE chain IS NOT NULL
    """
)
_WAITING = text(
    _EACH  # noqa: S608
    + """
    SELECT min((
        SELECT at FROM ledger WHERE ledger.chain = chains.chain AND sequence > coalesce((
            SELECT last FROM ledger_leaves WHERE ledger_leaves.chain = chains.chain ORDER BY first DESC LIMIT 1
        ), 0) ORDER BY sequence LIMIT 1
    )) AS at FROM chains WHERE chain IS NOT NULL
    """
).columns(at=Instant)


class Taken(msgspec.Struct, frozen=True):
    """Entries of a chain that become leaves: `hashes` are theirs, from the entry `first` on."""

    chain: str
    first: int
    hashes: list[bytes]

    @property
    def last(self) -> int:
        """The number of the last of these entries."""
        return self.first + len(self.hashes) - 1


class Range(msgspec.Struct, frozen=True):
    """Entries `first` to `last` of a chain, which are leaves from `leaf` on."""

    leaf: int
    chain: str
    first: int
    last: int


class Signed(msgspec.Struct, frozen=True):
    """A head as it stands in the database, whether or not it is still true."""

    size: int
    at: datetime
    note: str


def size(connection: Connection) -> int:
    """Return how many leaves the tree has."""
    return int(connection.execute(select(func.coalesce(func.max(heads.c.size), 0))).scalar_one())


def chains(connection: Connection) -> dict[str, int]:
    """Return every chain and the number of its newest entry."""
    return {row[0]: row[1] for row in connection.execute(_CHAINS)}


def waiting_since(connection: Connection) -> datetime | None:
    """Return when the oldest entry that is under no head was written, None if there is none."""
    found: datetime | None = connection.execute(_WAITING).scalar_one()
    return found


def covered(connection: Connection, chain: str) -> int:
    """Return the number of the newest entry of a chain that is a leaf, 0 for none."""
    query = select(leaves.c.last).where(leaves.c.chain == chain).order_by(desc(leaves.c.first)).limit(1)
    return connection.execute(query).scalar_one_or_none() or 0


def behind(connection: Connection, known: Mapping[str, int], most: int) -> tuple[list[Taken], list[str]]:
    """Return up to `most` entries that are no leaves yet; `known` says of chains how far they are covered.

    With them come the places, `chain/sequence`, of entries that are missing: nothing of their chains behind them can
    be taken in.
    """
    found: list[Taken] = []
    missing: list[str] = []
    for chain, newest in chains(connection).items():
        last = known[chain] if chain in known else covered(connection, chain)
        if last >= newest or most <= 0:
            continue
        query = select(ledger.c.sequence, ledger.c.hash).where(ledger.c.chain == chain, ledger.c.sequence > last)
        rows = connection.execute(query.order_by(ledger.c.sequence).limit(most)).all()
        # Numbers rise: behind the first that is not the next one, none is.
        hashes = [bytes(row.hash) for number, row in enumerate(rows, last + 1) if row.sequence == number]
        if hashes:
            found.append(Taken(chain, last + 1, hashes))
        if len(hashes) < len(rows):
            missing.append(f"{chain}/{last + 1 + len(hashes)}")
        most -= len(hashes)
    return found, missing


def tile(connection: Connection, level: int, number: int) -> bytes:
    """Return a tile as it is; raises `Conflict` for one that is not there."""
    query = select(tiles.c.hashes).where(tiles.c.level == level, tiles.c.number == number)
    found = connection.execute(query).scalar_one_or_none()
    if found is None:
        raise Conflict(f"the tile {level}/{number} of the ledger's tree is missing", {"tree": "a tile is missing"})
    return bytes(found)


def root(connection: Connection, leaves_taken: int) -> bytes:
    """Return the root over the first leaves, from the tiles; raises `Conflict`."""
    return merkle.root(partial(tile, connection), leaves_taken)


def has(connection: Connection, leaves_taken: int, wanted: bytes) -> bool:
    """Return whether there are so many leaves, and this is the root over them."""
    return leaves_taken <= size(connection) and hmac.compare_digest(root(connection, leaves_taken), wanted)


def grow(connection: Connection, before: int, taken: Sequence[Taken]) -> tuple[dict[Place, bytes], bytes]:
    """Return the tiles that change when entries become the leaves behind the first `before`, and the new root."""
    hashes = [merkle.leaf_hash(one) for part in taken for one in part.hashes]
    changed = merkle.grown(partial(tile, connection), before, hashes)

    def read(level: int, number: int) -> bytes:
        return changed.get((level, number)) or tile(connection, level, number)

    return changed, merkle.root(read, before + len(hashes))


def add(
    connection: Connection, before: int, taken: Sequence[Taken], changed: Mapping[Place, bytes], head: Signed
) -> bool:
    """Write what `grow` returned, and its head; return whether the tree was still as large as before."""
    if size(connection) != before:
        return False
    leaf = before
    for part in taken:
        values = {"leaf": leaf, "chain": part.chain, "first": part.first, "last": part.last}
        connection.execute(leaves.insert().values(values))
        leaf += len(part.hashes)
    for (level, number), hashes in changed.items():
        place = update(tiles).where(tiles.c.level == level, tiles.c.number == number)
        if not connection.execute(place.values(hashes=hashes)).rowcount:
            connection.execute(tiles.insert().values(level=level, number=number, hashes=hashes))
    connection.execute(heads.insert().values(size=head.size, at=head.at, note=head.note))
    return True


def newest(connection: Connection) -> Signed | None:
    """Return the newest head, None before the first."""
    row = connection.execute(select(heads).order_by(desc(heads.c.size)).limit(1)).one_or_none()
    return None if row is None else Signed(*row)


def signed(connection: Connection, leaves_taken: int) -> Signed | None:
    """Return the head of a size, None if there is none."""
    row = connection.execute(select(heads).where(heads.c.size == leaves_taken)).one_or_none()
    return None if row is None else Signed(*row)


def every_head(connection: Connection) -> Iterator[Signed]:
    """Yield all heads by size."""
    rows = connection.execute(select(heads).order_by(heads.c.size), execution_options={"yield_per": 1000})
    return (Signed(*row) for row in rows)


def ranges(connection: Connection) -> Iterator[Range]:
    """Yield which entries are which leaves, by leaf."""
    rows = connection.execute(select(leaves).order_by(leaves.c.leaf), execution_options={"yield_per": 1000})
    return (Range(*row) for row in rows)


def numbered(connection: Connection, chain: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield the entries `first` to `last` of a chain that are leaves, by number, each with its leaf."""
    query = select(leaves).where(leaves.c.chain == chain, leaves.c.last >= first, leaves.c.first <= last)
    for one in connection.execute(query.order_by(leaves.c.first), execution_options={"yield_per": 1000}):
        for sequence in range(max(first, one.first), min(last, one.last) + 1):
            yield sequence, one.leaf + sequence - one.first


def leaf_of(connection: Connection, chain: str, sequence: int) -> int | None:
    """Return which leaf an entry is, None if it is none yet."""
    query = select(leaves).where(leaves.c.chain == chain, leaves.c.first <= sequence)
    row = connection.execute(query.order_by(desc(leaves.c.first)).limit(1)).one_or_none()
    return None if row is None or row.last < sequence else int(row.leaf + sequence - row.first)


def entry_at(connection: Connection, leaf: int) -> tuple[str, int] | None:
    """Return chain and number of the entry that is a leaf, None if there is no such leaf."""
    row = connection.execute(select(leaves).where(leaves.c.leaf <= leaf).order_by(desc(leaves.c.leaf)).limit(1)).first()
    if row is None or leaf - row.leaf > row.last - row.first:
        return None
    return row.chain, int(row.first + leaf - row.leaf)
