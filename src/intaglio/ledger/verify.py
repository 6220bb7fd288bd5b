"""Checking the chain: any change, gap or reordering is found and the first bad entry named."""

import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec

from intaglio.errors import Conflict
from intaglio.ledger.entry import GENESIS, entry_hash
from intaglio.ledger.retention import Pruned, Tally, is_prunable
from intaglio.ledger.stamps import STAMPED
from intaglio.ledger.writer import Recorded


class _Written(msgspec.Struct, frozen=True):
    """What the columns of an entry repeat from its body, and what more there is."""

    chain: str
    sequence: int
    at: datetime
    kind: str
    account_id: str | None
    reference: str | None
    request_id: str | None
    details: dict[str, Any]


# What the columns repeat.
_COLUMNS = tuple(name for name in _Written.__struct_fields__ if name != "details")


class Verified(msgspec.Struct, frozen=True):
    """How many entries held, and the last hash of each chain (hex)."""

    entries: int
    heads: dict[str, str]


class Follower:
    """Follows chains entry by entry; `heads` are the number and hash of the last entry of each.

    `pruned` says up to where entries may have lost their bodies; `removed` counts those that have, `stamped` those
    about time-stamps on heads.
    """

    def __init__(self, pruned: Mapping[str, Pruned] = MappingProxyType({})) -> None:
        self.entries = 0
        self.removed = 0
        self.stamped = 0
        self.heads: dict[str, tuple[int, bytes]] = {}
        self._pruned = pruned
        self._tallies = {chain: Tally(one.through) for chain, one in pruned.items()}

    def entry(self, entry: Recorded) -> None:
        """Take in the next entry of its chain; raises `Conflict` naming the first that does not hold."""
        sequence, previous = self.heads.get(entry.chain, (0, GENESIS))
        place = f"{entry.chain}/{entry.sequence}"
        if entry.sequence != sequence + 1:
            missing = f"{entry.chain}/{sequence + 1}"
            raise Conflict(f"entry {missing} is missing", {missing: f"missing: {place} is out of sequence"})
        if not hmac.compare_digest(entry.previous, previous):
            raise Conflict(f"entry {place} does not follow the one before it", {place: "previous"})
        tally = self._tallies.get(entry.chain)
        within = tally is not None and entry.sequence <= tally.through
        if entry.body:
            _check_body(entry, place)
        elif not within or not is_prunable(entry.kind, entry.body):
            raise Conflict(f"entry {place} has lost its body", {place: "no entry says that it may"})
        else:
            _check_rest(entry, place)
            self.removed += 1
        if tally is not None and within and is_prunable(entry.kind, entry.body):
            tally.take(entry)
        self.heads[entry.chain] = (entry.sequence, entry.hash)
        self.entries += 1
        self.stamped += entry.kind == STAMPED

    def finish(self) -> None:
        """Check that those without a body are those on record; raises `Conflict`."""
        for chain, tally in self._tallies.items():
            if tally.done() != self._pruned[chain]:
                raise Conflict(
                    f"the entries of {chain} that have lost their bodies are not those on record",
                    {f"{chain}/1 to {tally.through}": "not what ledger.pruned tells of"},
                )

    def verified(self) -> Verified:
        """Return what held so far."""
        return Verified(self.entries, {chain: head.hex() for chain, (_, head) in self.heads.items()})


def _check_body(entry: Recorded, place: str) -> None:
    if not hmac.compare_digest(entry.hash, entry_hash(entry.previous, entry.body)):
        raise Conflict(f"entry {place} was changed", {place: "hash"})
    try:
        written = msgspec.json.decode(entry.body, type=_Written)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Conflict(f"entry {place} cannot be read", {place: "is no entry, and the chain fits to it"}) from error
    for column in _COLUMNS:
        if getattr(written, column) != getattr(entry, column):
            raise Conflict(f"entry {place} says another {column} than its body", {place: column})


def _check_rest(entry: Recorded, place: str) -> None:
    """Raise `Conflict` if an entry without a body says more than its place, time, kind and hash."""
    for column in ("account_id", "reference", "request_id"):
        if getattr(entry, column) is not None:
            raise Conflict(f"entry {place} has lost its body, and its {column} is there", {place: column})


def verify(entries: Iterable[Recorded]) -> Verified:
    """Follow every chain from its beginning; raises `Conflict` naming the first entry that does not hold."""
    follower = Follower()
    for entry in entries:
        follower.entry(entry)
    return follower.verified()
