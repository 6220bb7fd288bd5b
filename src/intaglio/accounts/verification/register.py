"""The register of verification mechanisms: which account verifies whom how, in which state, for how long."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, ForeignKey, Integer, LargeBinary, String, Table, select, update

from intaglio.accounts.kinds import Kind
from intaglio.accounts.register import Account
from intaglio.database.engine import bump_revision
from intaglio.database.schema import Instant, metadata
from intaglio.errors import Conflict, NotFound
from intaglio.pki.hierarchy import Hierarchy


class Type(StrEnum):
    """Who verifies: the operator, a digital identity service, a bank or insurance, a state, or an enterprise."""

    VETTING = "vetting"
    DIGITAL_ID = "digital-id"
    FINANCIAL = "financial"
    E_ID = "e-id"
    DIRECTORY = "directory"


class State(StrEnum):
    """Whether anybody is certified on the strength of a mechanism: of one that is approved only."""

    APPLIED = "applied"
    APPROVED = "approved"
    REFUSED = "refused"
    SUSPENDED = "suspended"
    AUDIT_DUE = "audit-due"


class Depth(StrEnum):
    """What a request shows: the account's word, with a reference of its own, or a token that the provider signed."""

    ASSERTED = "asserted"
    PROVEN = "proven"


mechanisms = Table(
    "verification_mechanisms",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", String(32), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("type", String(16), nullable=False),
    Column("depth", String(16), nullable=False),
    Column("provider", String(128), nullable=False),
    Column("description", String(2000), nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("rule", LargeBinary),
    Column("state", String(16), nullable=False),
    Column("reason", String(500)),
    Column("applied_at", Instant, nullable=False),
    Column("applied_by", String(64), nullable=False),
    Column("decided_at", Instant),
    Column("decided_by", String(64)),
    Column("valid_until", Instant, nullable=False),
)


class Mechanism(msgspec.Struct, frozen=True):
    """A mechanism as the register holds it; `version` counts its states, from 1, and `reason` is the latest one's.

    `evidence` are names of files and the SHA-256 of each (hex). `rule` is what a token must hold where the depth is
    proven: a JSON document.
    """

    id: str
    account_id: str
    version: int
    type: Type
    depth: Depth
    provider: str
    description: str
    evidence: dict[str, str]
    rule: dict[str, Any] | None
    state: State
    reason: str | None
    applied_at: datetime
    applied_by: str
    decided_at: datetime | None
    decided_by: str | None
    valid_until: datetime

    def usable(self, now: datetime) -> bool:
        """Return whether people are certified on the strength of it now."""
        return self.state == State.APPROVED and now < self.valid_until


def needed(account: Account) -> bool:
    """Return whether an account certifies people that others are to rely on, and so needs a mechanism."""
    return account.hierarchy == Hierarchy.PRODUCTION and account.kind in {Kind.EMPLOYEE, Kind.INDIVIDUAL}


def add(connection: Connection, mechanism: Mechanism) -> None:
    """Write a mechanism that was applied for."""
    fields = msgspec.structs.asdict(mechanism)
    fields["evidence"] = msgspec.json.encode(mechanism.evidence)
    fields["rule"] = None if mechanism.rule is None else msgspec.json.encode(mechanism.rule)
    connection.execute(mechanisms.insert(), fields)


def find(connection: Connection, mechanism_id: str) -> Mechanism:
    """Return a mechanism; raises `NotFound`."""
    row = connection.execute(select(mechanisms).where(mechanisms.c.id == mechanism_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such verification mechanism.", {"mechanism": "not found"})
    return _mechanism(row)


def every(connection: Connection, account_id: str | None = None, state: State | None = None) -> list[Mechanism]:
    """Return the mechanisms of an account, or all; of one state, or all; oldest first."""
    query = select(mechanisms).order_by(mechanisms.c.applied_at, mechanisms.c.id)
    if account_id is not None:
        query = query.where(mechanisms.c.account_id == account_id)
    if state is not None:
        query = query.where(mechanisms.c.state == state)
    return [_mechanism(row) for row in connection.execute(query)]


def decide(
    connection: Connection,
    mechanism_id: str,
    state: State,
    *,
    before: set[State],
    reason: str | None,
    decided_by: str,
    now: datetime,
) -> Mechanism:
    """Put a mechanism into another state; raises `NotFound`, or `Conflict` where it is in none of `before`."""
    found = find(connection, mechanism_id)
    if found.state not in before:
        raise Conflict(f"The mechanism is {found.state}.", {"state": f"cannot become {state} from {found.state}"})
    decided = {"state": state, "reason": reason, "decided_at": now, "decided_by": decided_by[:64]}
    connection.execute(
        update(mechanisms).where(mechanisms.c.id == mechanism_id).values(version=found.version + 1, **decided)
    )
    bump_revision(connection)
    return find(connection, mechanism_id)


def _mechanism(row: object) -> Mechanism:
    fields = {name: getattr(row, name) for name in Mechanism.__struct_fields__}
    fields["evidence"] = msgspec.json.decode(fields["evidence"], type=dict[str, str])
    fields["rule"] = None if fields["rule"] is None else msgspec.json.decode(fields["rule"])
    for name, kind in (("type", Type), ("depth", Depth), ("state", State)):
        fields[name] = kind(fields[name])
    return Mechanism(**fields)
