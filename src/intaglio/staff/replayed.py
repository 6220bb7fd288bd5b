"""What the verification of approvals reads of entries, and what it finds."""

from datetime import datetime
from typing import Any

import msgspec

from intaglio.staff.approvals import State
from intaglio.staff.statement import Statement


class Body(msgspec.Struct, frozen=True):
    """An entry as it was written, as far as it matters here."""

    at: datetime
    actor: str
    kind: str
    account_id: str | None
    reference: str | None
    details: dict[str, Any]
    approval: str | None = None


class Finding(msgspec.Struct, frozen=True):
    """An entry (`chain/sequence`), or what the database holds, that is not as it should be, and why."""

    entry: str
    kind: str
    reason: str


class Founder(msgspec.Struct, frozen=True):
    """Whom everything is believed because of: `key_sha256` is over the SubjectPublicKeyInfo, hex."""

    name: str
    key_sha256: str
    at: datetime
    again: bool


class Done(msgspec.Struct, frozen=True):
    """What was done under an approval: an entry's place, kind, reference and details."""

    entry: str
    kind: str
    reference: str | None
    details: dict[str, Any]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger says of people and approvals.

    `people` are ids and whether they are there still; `asked` are the statements by approval, `states` where each is,
    `done` what was done under it; `accounts` are hierarchies and states by account, `policies` the hashes in force,
    `mechanisms` what was applied for, with state and version.
    """

    founders: list[Founder]
    people: dict[str, bool]
    approvals: int
    acts: int
    findings: list[Finding]
    asked: dict[str, Statement]
    states: dict[str, State]
    done: dict[str, list[Done]]
    accounts: dict[str, tuple[str, str]]
    policies: dict[str, str]
    mechanisms: dict[str, dict[str, Any]]
