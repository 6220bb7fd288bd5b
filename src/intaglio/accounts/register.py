"""The register of accounts: who they are, in which state, under which policy."""

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, ForeignKey, Integer, LargeBinary, String, Table, desc, select, update

from intaglio.accounts.kinds import Kind
from intaglio.database.engine import bump_revision
from intaglio.database.schema import Instant, metadata
from intaglio.errors import Conflict, NotFound
from intaglio.pki.hierarchy import Hierarchy


class State(StrEnum):
    """Whether an account may use the service."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


accounts = Table(
    "accounts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("hierarchy", String(16), nullable=False),
    Column("organization", String(64)),
    Column("country", String(2)),
    Column("state", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("profile", String(32)),
)

policies = Table(
    "policies",
    metadata,
    Column("account_id", String(32), ForeignKey("accounts.id"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("author", String(64)),
)


class Account(msgspec.Struct, frozen=True):
    """An account as the register holds it; `profile` is None where it is that of the kind."""

    id: str
    name: str
    kind: Kind
    hierarchy: Hierarchy
    organization: str | None
    country: str | None
    state: State
    created_at: datetime
    profile: str | None = None


class PolicyVersion(msgspec.Struct, frozen=True):
    """One version of an account's policy, and who put it in force: unknown of those from before that was kept."""

    version: int
    at: datetime
    author: str | None
    document: dict[str, Any]


def new_id() -> str:
    """Return an identifier nobody can guess: 128 random bits, hex."""
    return secrets.token_hex(16)


def add(connection: Connection, account: Account, policy: dict[str, Any], author: str) -> None:
    """Write a new account with its first policy."""
    connection.execute(accounts.insert(), msgspec.structs.asdict(account))
    set_policy(connection, account.id, policy, author, account.created_at)


def find(connection: Connection, account_id: str) -> Account:
    """Return an account; raises `NotFound`."""
    row = connection.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such account.", {"account": "not found"})
    return _account(row)


def every(connection: Connection) -> list[Account]:
    """Return all accounts, oldest first."""
    return [_account(row) for row in connection.execute(select(accounts).order_by(accounts.c.created_at))]


_NEXT_STATES = {
    State.ACTIVE: {State.SUSPENDED, State.CLOSED},
    State.SUSPENDED: {State.ACTIVE, State.CLOSED},
    State.CLOSED: set[State](),
}


def change_state(connection: Connection, account_id: str, state: State) -> Account:
    """Suspend, resume or close; raises `NotFound`, or `Conflict` where the present state forbids it."""
    account = find(connection, account_id)
    if state not in _NEXT_STATES[account.state]:
        raise Conflict(f"The account is {account.state}.", {"state": f"cannot become {state} from {account.state}"})
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(state=state))
    bump_revision(connection)
    return find(connection, account_id)


def set_profile(connection: Connection, account_id: str, profile: str | None) -> None:
    """Give an account a profile, or with None that of its kind."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(profile=profile))
    bump_revision(connection)


def set_policy(connection: Connection, account_id: str, document: dict[str, Any], author: str, now: datetime) -> int:
    """Store a new version of an account's policy and return its number."""
    _, version = _latest_policy(connection, account_id)
    connection.execute(
        policies.insert(),
        {
            "account_id": account_id,
            "version": version + 1,
            "document": msgspec.json.encode(document),
            "created_at": now,
            "author": author[:64],
        },
    )
    bump_revision(connection)
    return version + 1


def policy_versions(connection: Connection, account_id: str) -> list[PolicyVersion]:
    """Return every version of an account's policy, oldest first; raises `NotFound`."""
    find(connection, account_id)
    rows = connection.execute(
        select(policies.c.version, policies.c.created_at, policies.c.author, policies.c.document)
        .where(policies.c.account_id == account_id)
        .order_by(policies.c.version)
    )
    return [
        PolicyVersion(version, at, author, msgspec.json.decode(document, type=dict[str, Any]))
        for version, at, author, document in rows
    ]


def policy_document(connection: Connection, account_id: str) -> tuple[dict[str, Any], int]:
    """Return the policy in force and its version; raises `NotFound`."""
    document, version = _latest_policy(connection, account_id)
    if document is None:
        raise NotFound("The account has no policy.", {"account": "not found"})
    return document, version


def _latest_policy(connection: Connection, account_id: str) -> tuple[dict[str, Any] | None, int]:
    row = connection.execute(
        select(policies.c.document, policies.c.version)
        .where(policies.c.account_id == account_id)
        .order_by(desc(policies.c.version))
        .limit(1)
    ).one_or_none()
    if row is None:
        return None, 0
    return msgspec.json.decode(row.document, type=dict[str, Any]), row.version


def _account(row: object) -> Account:
    fields = {name: getattr(row, name) for name in Account.__struct_fields__}
    fields["kind"] = Kind(fields["kind"])
    fields["hierarchy"] = Hierarchy(fields["hierarchy"])
    fields["state"] = State(fields["state"])
    return Account(**fields)
