"""The register of approvals: what waits for a second person, until when, and what became of it."""

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, ForeignKey, LargeBinary, String, Table, select, update

from intaglio.database.schema import Instant, metadata
from intaglio.errors import Conflict, NotFound
from intaglio.staff.statement import Statement, content_hash, encode


class State(StrEnum):
    """Where an approval is in its life; `APPROVED` is agreed on and not carried out yet."""

    WAITING = "waiting"
    APPROVED = "approved"
    DONE = "done"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


OPEN = frozenset({State.WAITING, State.APPROVED})

approvals = Table(
    "approvals",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("act", String(64), nullable=False),
    Column("account_id", String(32)),
    Column("parameters", LargeBinary, nullable=False),
    Column("before", LargeBinary, nullable=False),
    Column("after", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("asked_by", String(32), ForeignKey("staff.id"), nullable=False),
    Column("asked_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("decided_by", String(32), ForeignKey("staff.id")),
    Column("decided_at", Instant),
    Column("result", LargeBinary),
)


class Approval(msgspec.Struct, frozen=True):
    """An act that waits; `parameters`, `before`, `after` and `result` are JSON values.

    `before` is what was there when it was asked for, `after` what is to be there: both are shown, and a decision is
    about all three.
    """

    id: str
    act: str
    account_id: str | None
    parameters: Any
    before: Any
    after: Any
    state: State
    asked_by: str
    asked_at: datetime
    expires_at: datetime
    decided_by: str | None = None
    decided_at: datetime | None = None
    result: Any = None

    @property
    def content(self) -> str:
        """The SHA-256, hex, that statements about it are over."""
        return content_hash({"parameters": self.parameters, "before": self.before, "after": self.after})


_JSON = ("parameters", "before", "after", "result")


def new_id() -> str:
    """Return the id of a new approval."""
    return secrets.token_hex(16)


def add(connection: Connection, approval: Approval) -> None:
    """Enter an approval that waits."""
    row = msgspec.structs.asdict(approval)
    connection.execute(approvals.insert(), row | {name: encode(row[name]) for name in _JSON})


def find(connection: Connection, approval_id: str) -> Approval:
    """Return an approval; raises `NotFound`."""
    row = connection.execute(select(approvals).where(approvals.c.id == approval_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such approval.", {"approval": "not found"})
    return _approval(row)


def every(connection: Connection, *, only_open: bool) -> list[Approval]:
    """Return approvals, oldest first: all, or those that somebody can still do something about."""
    query = select(approvals).order_by(approvals.c.asked_at)
    if only_open:
        query = query.where(approvals.c.state.in_(OPEN))
    return [_approval(row) for row in connection.execute(query)]


def overdue(connection: Connection, now: datetime) -> list[Approval]:
    """Return what waits and is over."""
    query = select(approvals).where(approvals.c.state == State.WAITING, approvals.c.expires_at <= now)
    return [_approval(row) for row in connection.execute(query)]


def change(
    connection: Connection,
    approval: Approval,
    state: State,
    *,
    decided_by: str | None = None,
    now: datetime | None = None,
    result: Any = None,
) -> Approval:
    """Put an approval into another state; raises `Conflict` when it is not in the one that it was read in."""
    changed = msgspec.structs.replace(
        approval,
        state=state,
        decided_by=decided_by or approval.decided_by,
        decided_at=now or approval.decided_at,
        result=result,
    )
    found = connection.execute(
        update(approvals)
        .where(approvals.c.id == approval.id, approvals.c.state == approval.state)
        .values(
            state=changed.state,
            decided_by=changed.decided_by,
            decided_at=changed.decided_at,
            result=encode(changed.result),
        )
    )
    if found.rowcount != 1:
        raise Conflict("Somebody else has just decided on this.", {"approval": "is no longer as it was read"})
    return changed


def is_asked(approval: Approval, asked: Statement | None) -> bool:
    """Return whether a row is what was signed when it was asked for."""
    if asked is None:
        return False
    row = (approval.asked_by, approval.act, approval.content, approval.account_id, approval.expires_at)
    return row == (asked.person, asked.act, asked.content, asked.account, asked.expires)


def _approval(row: object) -> Approval:
    fields = {name: getattr(row, name) for name in Approval.__struct_fields__}
    for name in _JSON:
        fields[name] = None if fields[name] is None else msgspec.json.decode(fields[name])
    fields["state"] = State(fields["state"])
    return Approval(**fields)
