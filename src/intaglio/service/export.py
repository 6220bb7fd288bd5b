"""The ledger as JSON lines: a signed head, then entries, each with a proof under it, so that each stands alone."""

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from functools import cache, partial
from typing import BinaryIO

import msgspec
from sqlalchemy import Connection

from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, NotFound
from intaglio.ledger import merkle, stamps, tree, writer
from intaglio.ledger.entry import Event
from intaglio.ledger.merkle import Place
from intaglio.ledger.retention import EXPORTED, LEDGER, Span
from intaglio.service.heads import verifying_key
from intaglio.service.home import Home
from intaglio.service.receipts import Proven, Stamped

FORMAT = "intaglio-export/1"
# Remembered at a time: 8 KiB each.
_MOST_TILES = 1000


class Header(msgspec.Struct, frozen=True):
    """The first line: the head that all others are proven under, its stamps, and the ledger's key."""

    format: str
    head: str
    stamps: list[Stamped]
    key: str


class Exported(msgspec.Struct, frozen=True):
    """How many entries were written, which of each chain, and the SHA-256 of the file (hex).

    `removed` are those of which nothing but the hash is there any more.
    """

    entries: int
    removed: int
    sha256: str
    chains: dict[str, Span]


class _Writing:
    """Writes lines and hashes them."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._hash = hashlib.sha256()
        self.lines = 0

    def line(self, one: Header | Proven) -> None:
        content = msgspec.json.encode(one) + b"\n"
        self._hash.update(content)
        self._out.write(content)
        self.lines += 1

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def export(
    home: Home, out: BinaryIO, *, since: datetime | None = None, until: datetime | None = None, chain: str | None = None
) -> Exported:
    """Write what is in the tree, from `since` and before `until`, of one chain or of all.

    Raises `NotFound` for an unknown chain, `Conflict` before the first head.
    """
    key = verifying_key(home)
    with reading(home.engine, patient=True) as connection:
        head = tree.newest(connection)
        if head is None or key is None:
            raise Conflict("No head is signed yet.", {"ledger": "a service that runs signs one: intaglio serve"})
        names = tree.chains(connection)
        if chain is not None and chain not in names:
            raise NotFound("There is no such chain.", {"chain": f"is none of {', '.join(names)}"})
        writing = _Writing(out)
        on_head = [Stamped(one.authority, one.token) for one in stamps.on(connection, head.size)]
        writing.line(Header(FORMAT, head.note, on_head, key.text))
        spans: dict[str, Span] = {}
        removed = 0
        for name in names if chain is None else [chain]:
            span = _span(connection, name, since, until)
            if span is None:
                continue
            spans[name] = span
            for one in _proven(connection, name, span, head.size):
                if one is None:
                    removed += 1
                else:
                    writing.line(one)
    return Exported(writing.lines - 1, removed, writing.sha256, spans)


def record(home: Home, exported: Exported, now: datetime) -> None:
    """Write that these entries are in a file elsewhere, durably."""
    event = Event(now, EXPORTED, reference=LEDGER, details=msgspec.to_builtins(exported))
    with transaction(home.engine) as connection:
        home.chain.append(connection, [event])


def flushed(out: BinaryIO) -> None:
    """Have a file on its disk."""
    out.flush()
    os.fsync(out.fileno())


def _span(connection: Connection, chain: str, since: datetime | None, until: datetime | None) -> Span | None:
    """Return which entries of a chain are meant, as far as they are in the tree; None if there are none."""
    first = 1 if since is None else writer.first_since(connection, chain, since)
    beyond = None if until is None else writer.first_since(connection, chain, until)
    last = tree.covered(connection, chain)
    if beyond is not None:
        last = min(last, beyond - 1)
    return None if first is None or first > last else Span(first, last)


def _proven(connection: Connection, chain: str, span: Span, size: int) -> Iterator[Proven | None]:
    """Yield entries with their proofs, None for one of which nothing but the hash is there."""
    tile, known = cache(partial(tree.tile, connection)), dict[Place, bytes]()
    entries = writer.between(connection, chain, span.first, span.last)
    for sequence, leaf in tree.numbered(connection, chain, span.first, span.last):
        one = next(entries, None)
        if one is None or one.sequence != sequence:
            place = f"{chain}/{sequence}"
            raise Conflict(f"entry {place} is missing", {place: "missing: intaglio ledger verify"})
        if not one.body:
            yield None
            continue
        # A tile is needed for a while, and then never again.
        if tile.cache_info().currsize > _MOST_TILES:
            tile.cache_clear()
        proof = [node.hex() for node in merkle.path(tile, leaf, size, known)]
        yield Proven(one.body.decode(), one.previous.hex(), leaf, proof)
