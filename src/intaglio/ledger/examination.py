"""Checking everything: chains, tree, signed heads, and heads that were kept outside of the database.

It streams: what it remembers grows with the number of chains, not with that of entries.
"""

import hmac
from collections.abc import Callable, Iterable, Iterator

import msgspec
from sqlalchemy import Connection

from intaglio.errors import Conflict, Malformed
from intaglio.ledger import retention, stamps, tree
from intaglio.ledger.head import VerifyingKey, opened
from intaglio.ledger.merkle import HASH_BYTES, WIDTH, Frontier, leaf_hash, tile_root
from intaglio.ledger.stamps import Stamp
from intaglio.ledger.tree import Range, Signed
from intaglio.ledger.verify import Follower
from intaglio.ledger.writer import Recorded, recorded


class Outside(msgspec.Struct, frozen=True):
    """A head that was kept outside: its note, and the file and line where it is."""

    place: str
    note: str


class Examined(msgspec.Struct, frozen=True):
    """What held: how many entries, how many have lost their bodies, how many are in the tree, how many heads.

    `heads` are the last hashes of the chains (hex), `root` is the tree's; `outside` None if no heads were given.
    """

    entries: int
    removed: int
    heads: dict[str, str]
    leaves: int
    root: str
    signed_heads: int
    stamps: int
    outside: int | None


class _Examination:
    def __init__(self, connection: Connection, key: VerifyingKey | None, tell: Callable[[int], None]) -> None:
        self._connection = connection
        self._key = key
        self._tell = tell
        self.follower = Follower(retention.pruned(connection))
        self.frontier = Frontier()
        self.signed_heads = 0
        self._tile = b""
        self._cursors: dict[str, Iterator[Recorded]] = {}
        # Where what the next head is the first to be over begins.
        self._first: Range | None = None
        self._heads = tree.every_head(connection)
        self._next_head = next(self._heads, None)

    def whole(self) -> None:
        """Check everything that the database holds."""
        for chain in tree.chains(self._connection):
            self._cursors[chain] = recorded(self._connection, chain)
        for part in tree.ranges(self._connection):
            self._take(part)
        # What was not taken in yet, and any that is in no order at all.
        for cursor in self._cursors.values():
            for entry in cursor:
                self._follow(entry)
        self._end()

    def _take(self, part: Range) -> None:
        if part.leaf != self.frontier.size or part.last < part.first:
            raise Conflict(
                f"which entries are the leaves from {self.frontier.size} on is missing", {"tree": "leaves are missing"}
            )
        for sequence in range(part.first, part.last + 1):
            entry = next(self._cursors.get(part.chain, iter(())), None)
            place = f"{part.chain}/{sequence}"
            if entry is None or entry.sequence > sequence:
                raise Conflict(f"entry {place} is missing", {place: f"leaf {self.frontier.size} of the tree, missing"})
            self._follow(entry)
            if entry.sequence != sequence:
                raise Conflict(f"entry {place} is twice in the tree", {place: "is a leaf already"})
            self._leaf(entry, place)
        self._first = self._first or part
        head = self._next_head
        if head is not None and head.size <= self.frontier.size:
            self._check(head, self._first, part)
            self._first = None
            self._next_head = next(self._heads, None)

    def _follow(self, entry: Recorded) -> None:
        self.follower.entry(entry)
        if self.follower.entries % 10_000 == 0:
            self._tell(self.follower.entries)

    def _leaf(self, entry: Recorded, place: str) -> None:
        number, offset = divmod(self.frontier.size, WIDTH)
        if offset == 0:
            self._tile = tree.tile(self._connection, 0, number)
        leaf = leaf_hash(entry.hash)
        kept = self._tile[offset * HASH_BYTES : (offset + 1) * HASH_BYTES]
        if not hmac.compare_digest(kept, leaf):
            raise Conflict(
                f"entry {place} is not what was taken into the tree",
                {place: "was changed, and the chain recomputed behind it"},
            )
        self.frontier.append(leaf)
        if offset == WIDTH - 1:
            self._complete(0, number, self._tile)

    def _complete(self, level: int, number: int, tile: bytes) -> None:
        """Check that the root of a full tile is where it belongs, in the tile above."""
        above, offset = divmod(number, WIDTH)
        held = tree.tile(self._connection, level + 1, above)
        if not hmac.compare_digest(held[offset * HASH_BYTES : (offset + 1) * HASH_BYTES], tile_root(tile)):
            raise Conflict(f"the tile {level + 1}/{above} of the tree was changed", {"tree": "a tile was changed"})
        if offset == WIDTH - 1:
            self._complete(level + 1, above, held)

    def _check(self, head: Signed, first: Range, last: Range) -> None:
        name = f"the head of size {head.size}"
        if self._key is None:
            raise Conflict(f"there is no key to verify {name} with", {"key": "give the ledger's key"})
        try:
            told = opened(head.note, self._key)
        except Malformed as error:
            raise Conflict(f"{name} does not hold: {error}", {"head": f"of size {head.size} was changed"}) from error
        if told.size != head.size or told.at != head.at or head.size != self.frontier.size:
            raise Conflict(f"{name} says another size or time than its row", {"head": "was changed"})
        if not hmac.compare_digest(told.root, self.frontier.root()):
            span = f"{first.chain}/{first.first} to {last.chain}/{last.last}"
            raise Conflict(
                f"{name} is of other entries: one of {span} was changed, and chain and tree were recomputed",
                {span: "not what was signed"},
            )
        self.signed_heads += 1

    def _end(self) -> None:
        self.follower.finish()
        if self._first is not None:
            raise Conflict(f"the head over the first {self.frontier.size} entries is missing", {"head": "missing"})
        if self._next_head is not None:
            raise Conflict(
                f"there is a head of size {self._next_head.size}, and no entry for the leaf {self.frontier.size}",
                {"head": "of entries that are not in the tree"},
            )


def examine(
    connection: Connection,
    key: VerifyingKey | None,
    outside: Iterable[Outside] | None = None,
    tell: Callable[[int], None] = lambda _: None,
    judge: Callable[[Connection, Stamp, str], None] = lambda _connection, _stamp, _note: None,
) -> Examined:
    """Check everything; raises `Conflict` naming the first entry or head that does not hold.

    `judge` raises `Malformed` for a time-stamp that does not hold, is not on the head of this note, or not the one that
    its entry tells of.
    `tell` is called now and then with the number of entries that held so far.
    """
    work = _Examination(connection, key, tell)
    work.whole()
    verified = work.follower.verified()
    return Examined(
        entries=verified.entries,
        removed=work.follower.removed,
        heads=verified.heads,
        leaves=work.frontier.size,
        root=work.frontier.root().hex(),
        signed_heads=work.signed_heads,
        stamps=_check_stamps(connection, judge, work.follower.stamped),
        outside=None if outside is None else _check_outside(connection, key, outside, work.frontier.size),
    )


def _check_stamps(connection: Connection, judge: Callable[[Connection, Stamp, str], None], told: int) -> int:
    """Hold every stamp against its head, and their number against what entries tell; return how many there were."""
    count = 0
    for stamp in stamps.every(connection):
        name = f"the stamp of {stamp.authority} on the head of size {stamp.size}"
        head = tree.signed(connection, stamp.size)
        if head is None:
            raise Conflict(f"{name} is there, and the head is missing", {"head": f"of size {stamp.size} is missing"})
        try:
            judge(connection, stamp, head.note)
        except Malformed as error:
            raise Conflict(f"{name} does not hold", error.fields) from error
        count += 1
    if count != told:
        raise Conflict(
            f"{told} time-stamps were made, and {count} are there", {"stamps": f"{told - count} are missing"}
        )
    return count


def _check_outside(connection: Connection, key: VerifyingKey | None, outside: Iterable[Outside], size: int) -> int:
    """Hold heads that were kept outside against the tree, which holds by itself; return how many there were."""
    if key is None:
        raise Conflict("there is no key to verify heads with", {"key": "give the ledger's key"})
    count, good = 0, 0
    bad: tuple[int, str, str] | None = None
    for one in outside:
        try:
            head = opened(one.note, key)
        except Malformed as error:
            raise Conflict(f"the head at {one.place} does not hold: {error}", {one.place: str(error)}) from error
        count += 1
        if tree.has(connection, head.size, head.root):
            good = max(good, head.size)
        elif bad is None or head.size < bad[0]:
            bad = (head.size, one.place, f"{head.at:%Y-%m-%d %H:%M:%S} UTC")
    if bad is not None:
        _refuse(connection, size, good, bad)
    return count


def _refuse(connection: Connection, size: int, good: int, bad: tuple[int, str, str]) -> None:
    """Say which entries are not what a head that was kept outside says they were."""
    bad_size, place, at = bad
    if bad_size > size:
        last = tree.entry_at(connection, size - 1)
        behind = "at all" if last is None else f"behind {last[0]}/{last[1]}"
        raise Conflict(
            f"{bad_size - size} entries are missing: a head kept outside, signed at {at}, has {bad_size}, and here are "
            f"{size}, none {behind}",
            {place: "has more entries than the ledger: it was cut, or restored from before"},
        )
    if good >= bad_size:
        raise Conflict(
            f"two histories were signed: a head kept outside, signed at {at}, is of other entries than the ledger has, "
            "and later ones are of these",
            {place: f"of size {bad_size}, is of other entries: the ledger was restored from before, and went on"},
        )
    first = tree.entry_at(connection, good)
    named = "an entry" if first is None else f"entry {first[0]}/{first[1]}"
    raise Conflict(
        f"{named} or one of the {bad_size - good - 1} behind it in the tree was changed, and everything recomputed: a "
        f"head kept outside, signed at {at}, is of others",
        {place: f"of size {bad_size}, is of other entries; those of the first {good} are as they were"},
    )
