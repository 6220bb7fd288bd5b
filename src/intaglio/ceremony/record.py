"""A ceremony in the ledger of the home that it changes.

The ledger keeps the transcript's head before every step. Whoever goes on with an older copy of the transcript, to have
a step done again that officers confirmed once, is found by it.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.ceremony.entry import Found
from intaglio.ceremony.script import Script
from intaglio.ceremony.transcript import Link
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, KeyUnavailable, StoreUnavailable
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import latest, recorded
from intaglio.service.home import Home

_MOST = 10_000


class _Body(msgspec.Struct, frozen=True):
    details: dict[str, str]


class Record:
    """What the ledger of `home` says of one ceremony; `reference` is the hash of its transcript's first entry."""

    def __init__(self, home: Home, reference: str) -> None:
        self._home = home
        self._reference = reference

    def write(self, kind: str, now: datetime, details: dict[str, str]) -> None:
        """Append `ceremony.<kind>`; it is durable when this returns."""
        event = Event(now, f"ceremony.{kind}", reference=self._reference, details=details)
        with transaction(self._home.engine) as connection:
            self._home.chain.append(connection, [event])

    def heads(self, kind: str = "") -> list[str]:
        """Return the heads of the transcript that the ledger knows of, oldest first."""
        with reading(self._home.engine) as connection:
            entries = latest(connection, most=_MOST, kind=f"ceremony.{kind}")
        return [
            msgspec.json.decode(entry.body, type=_Body).details["head"]
            for entry in entries
            if entry.reference == self._reference
        ]

    def check(self, links: Sequence[Link]) -> None:
        """Raise `Conflict` when the ledger knows of more than the transcript holds."""
        held = {link.hash.hex() for link in links}
        for head in self.heads():
            if head not in held:
                raise Conflict(
                    "The home's ledger knows of entries that this transcript lacks: it is an old copy, or was cut off.",
                    {"transcript": f"there is no entry with the hash {head}"},
                )


def genesis(home: Home) -> str:
    """Return the hash of the first entry of the home's ledger: what a home is known by."""
    with reading(home.engine) as connection:
        first = next(recorded(connection, home.chain.name), None)
    if first is None:
        raise StoreUnavailable("the ledger of the home is empty")
    return first.hash.hex()


def found(home: Home, script: Script) -> Found:
    """Return the home as it is found."""
    authorities: dict[str, bytes] = {}
    for name in script.home.authorities:
        try:
            authorities[name] = home.certificate(name).public_bytes(Encoding.DER)
        except KeyUnavailable:  # missing: the script's expectation is not met, and said so there
            continue
    return Found(
        genesis=genesis(home),
        organization=home.settings.name,
        public_url=home.settings.public.url,
        policy_arc=home.settings.policy_arc,
        country=home.settings.country,
        authorities=authorities,
    )
