"""The act by which old entries of the ledger lose their bodies (`ledger.retention`)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection

from intaglio.database.engine import reading, transaction, truncate_log
from intaglio.errors import Conflict
from intaglio.ledger import retention, stamps, tree, writer
from intaglio.ledger.entry import Event
from intaglio.ledger.retention import LEDGER, PRUNED, Pruned, Span
from intaglio.service.act import Act, Seen, says
from intaglio.service.home import Home

# Entries in one transaction: others wait for it.
_TOGETHER = 2000


class Prune(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Entries before a moment, UTC."""

    before: datetime


def plan(connection: Connection, before: datetime) -> dict[str, Pruned]:
    """Return up to where each chain will have lost bodies; raises `Conflict` for what may not be removed yet.

    It must have been exported, and be under a time-stamped head.
    """
    done, exported = retention.pruned(connection), retention.exported(connection)
    stamped = max(
        (one.size for one in (stamps.latest(connection), stamps.latest(connection, foreign=True)) if one), default=0
    )
    found: dict[str, Pruned] = dict(done)
    faults: dict[str, str] = {}
    for chain, newest in tree.chains(connection).items():
        beyond = writer.first_since(connection, chain, before)
        through = newest if beyond is None else beyond - 1
        already = done[chain].through if chain in done else 0
        if through <= already:
            continue
        missing = retention.uncovered([Span(1, already), *exported.get(chain, [])], through)
        leaf = tree.leaf_of(connection, chain, through)
        if missing is not None:
            faults[f"{chain}/{missing}"] = "was not exported: intaglio ledger export --out FILE"
        elif leaf is None or leaf >= stamped:
            faults[f"{chain}/{through}"] = "is under no time-stamped head yet"
        else:
            found[chain] = retention.tally(connection, chain, through)
    if faults:
        raise Conflict("Not everything before that may be removed; nothing was changed.", faults)
    return found


def _look(_home: Home, connection: Connection, asked: Prune, _now: datetime) -> Seen:
    before, after = retention.pruned(connection), plan(connection, asked.before)
    if before == after and not _left(connection, after):
        raise Conflict("There is nothing to remove.", {"before": "everything before that is removed, or there is none"})
    return Seen(
        msgspec.to_builtins(before), {"before": msgspec.to_builtins(asked.before), "chains": msgspec.to_builtins(after)}
    )


def _left(connection: Connection, wanted: Mapping[str, Pruned]) -> dict[str, int]:
    """Return the first entry of each chain that is still to be removed: of a removal that was cut off, too."""
    found = {chain: retention.left(connection, chain, one.through) for chain, one in wanted.items()}
    return {chain: first for chain, first in found.items() if first is not None}


def _prune(home: Home, asked: Prune, now: datetime) -> Any:
    """Put it on record, then remove, with what one before that was cut off has left."""
    with reading(home.engine, patient=True) as connection:
        done, wanted = retention.pruned(connection), plan(connection, asked.before)
        begin = _left(connection, wanted)
    if done != wanted:
        details = {"before": asked.before, "chains": msgspec.to_builtins(wanted)}
        with transaction(home.engine) as connection:
            home.chain.append(connection, [Event(now, PRUNED, reference=LEDGER, details=details)])
    removed = 0
    for chain, start in begin.items():
        through = wanted[chain].through
        for first in range(start, through + 1, _TOGETHER):
            with transaction(home.engine) as connection:
                removed += retention.remove(connection, chain, first, min(first + _TOGETHER - 1, through))
    # What was overwritten is not to be found in the database's log, either.
    truncate_log(home.engine)
    return {"removed": removed, "chains": {chain: one.through for chain, one in wanted.items()}}


RETENTION_ACTS: Mapping[str, Act] = {
    "ledger.prune": Act(Prune, _look, says("before"), outside=_prune, shown=("chains",))
}
