"""Which entries may lose their bodies when they are old, and what is on record of it.

What is left of such an entry is its place, time, kind and hash, so that its chain, the tree and every proof hold. An
entry `ledger.pruned` says up to where, with a hash over what is left of those that it is about, so that no other can go
unnoticed, and nothing that is left be changed.
"""

import hashlib
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select, update

from intaglio.errors import Conflict
from intaglio.ledger import writer
from intaglio.ledger.writer import Recorded, ledger

EXPORTED = "ledger.exported"
PRUNED = "ledger.pruned"
# What entries about the ledger itself refer to.
LEDGER = "ledger"

# What happens all day. Everything else tells of people, authorities and decisions, and stays.
PRUNABLE = frozenset({
    "signature.made", "signature.failed", "timestamp.made", "timestamp.failed", "timestamp.refused", "identity.created",
    "key.destroyed", "epoch.destroyed", "pool.aged", "login.made", "request.refused", "request.refused.more",
    "response.undelivered",
})  # fmt: skip


class Span(msgspec.Struct, frozen=True):
    """Entries of a chain, both included."""

    first: int
    last: int


class Pruned(msgspec.Struct, frozen=True):
    """Up to `through`, `entries` of a chain have lost their bodies, or will in a moment.

    `sha256` (hex) is over the number, time, kind and hash of each, in order.
    """

    through: int
    entries: int
    sha256: str


class Tally:
    """Counts and hashes the entries of one chain that may lose their bodies, up to a number."""

    def __init__(self, through: int) -> None:
        self.through = through
        self.entries = 0
        self._hash = hashlib.sha256()

    def take(self, entry: Recorded) -> None:
        """Take in the next of them."""
        self.entries += 1
        self._hash.update(f"{entry.sequence} {entry.at.isoformat()} {entry.kind}\n".encode() + entry.hash)

    def done(self) -> Pruned:
        """Return what is on record of them."""
        return Pruned(self.through, self.entries, self._hash.hexdigest())


def is_prunable(kind: str, body: bytes) -> bool:
    """Return whether an entry may lose its body, or has lost it.

    The end of a key of the service itself stays, and so does what binds the evidence of an identity.
    """
    if kind not in PRUNABLE or not body:
        return kind in PRUNABLE
    if kind == "key.destroyed":
        return "member" not in _details(body)
    if kind == "identity.created":
        verification = _details(body).get("verification")
        return not (isinstance(verification, dict) and "evidence" in verification)
    return True


class _Body(msgspec.Struct, frozen=True):
    details: dict[str, Any]


def _details(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=_Body).details


def exported(connection: Connection) -> dict[str, list[Span]]:
    """Return which entries of each chain were written to a file elsewhere."""
    found: dict[str, list[Span]] = {}
    for details in writer.details(connection, LEDGER, EXPORTED):
        for chain, span in msgspec.convert(details["chains"], dict[str, Span]).items():
            found.setdefault(chain, []).append(span)
    return found


def pruned(connection: Connection) -> dict[str, Pruned]:
    """Return up to where each chain has lost bodies, as the newest entry says; raises `Conflict` if it says nothing."""
    told = writer.entries(connection, LEDGER, PRUNED)
    if not told:
        return {}
    try:
        return msgspec.convert(_details(told[-1].body).get("chains"), dict[str, Pruned])
    except (msgspec.MsgspecError, ValueError) as error:
        place = f"{told[-1].chain}/{told[-1].sequence}"
        raise Conflict(f"entry {place} says nothing of what lost its body", {place: "cannot be read"}) from error


def tally(connection: Connection, chain: str, through: int) -> Pruned:
    """Return what would be on record once a chain is pruned up to a number."""
    counting = Tally(through)
    for one in writer.between(connection, chain, 1, through):
        if is_prunable(one.kind, one.body):
            counting.take(one)
    return counting.done()


def left(connection: Connection, chain: str, through: int) -> int | None:
    """Return the number of the first entry up to `through` that has a body and may lose it, None if none is left."""
    query = select(ledger.c.sequence, ledger.c.kind, ledger.c.body).where(
        ledger.c.chain == chain,
        ledger.c.sequence <= through,
        ledger.c.kind.in_(PRUNABLE),
        func.length(ledger.c.body) > 0,
    )
    rows = connection.execute(query.order_by(ledger.c.sequence), execution_options={"yield_per": 1000})
    return next((row.sequence for row in rows if is_prunable(row.kind, row.body)), None)


def remove(connection: Connection, chain: str, first: int, last: int) -> int:
    """Remove the bodies of entries `first` to `last` that may lose them, and what repeats them; return how many."""
    query = select(ledger.c.sequence, ledger.c.kind, ledger.c.body).where(
        ledger.c.chain == chain, ledger.c.sequence.between(first, last), ledger.c.kind.in_(PRUNABLE)
    )
    gone = [row.sequence for row in connection.execute(query) if row.body and is_prunable(row.kind, row.body)]
    if gone:
        there = update(ledger).where(ledger.c.chain == chain, ledger.c.sequence.in_(gone))
        connection.execute(there.values(body=b"", account_id=None, reference=None, request_id=None))
    return len(gone)


def uncovered(spans: list[Span], through: int) -> int | None:
    """Return the first number up to `through` that is in none of the spans, None if all are."""
    need = 1
    for span in sorted(spans, key=lambda one: one.first):
        if span.first > need:
            break
        need = max(need, span.last + 1)
    return need if need <= through else None
