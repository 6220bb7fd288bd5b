"""The evidence behind proven identities: the tokens themselves, which say who people are, sealed and erasable.

The ledger holds a commitment to each, SHA-256(salt ‖ token). Erasing deletes salt and token: what is left in the ledger
stays as it was and can be verified, and says nothing of anybody.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, LargeBinary, String, Table, select, update

from intaglio.accounts.verification.token import decoded
from intaglio.database.schema import Instant, metadata
from intaglio.errors import Conflict, ContentRefused, NotFound
from intaglio.keys.sealing import SealingKey
from intaglio.ledger import writer
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki import text

_SALT = 32
# Of one pass of housekeeping.
_MOST_AT_ONCE = 500

identity_evidence = Table(
    "identity_evidence",
    metadata,
    Column("identity_id", String(32), primary_key=True),
    Column("account_id", String(32), nullable=False, index=True),
    Column("sealed", LargeBinary),
    Column("salt", LargeBinary),
    Column("erase_at", Instant, nullable=False, index=True),
    Column("erased_at", Instant),
)


class Evidence(msgspec.Struct, frozen=True):
    """A token as it is kept: `sealed` opens at its own identity only, and `commitment` is what the ledger holds."""

    sealed: bytes
    salt: bytes
    commitment: str


class Shown(msgspec.Struct, frozen=True):
    """What the evidence of an identity says, and in which entry of the ledger the commitment to it stands."""

    identity_id: str
    account_id: str
    token: str
    header: dict[str, Any]
    claims: dict[str, Any]
    entry: str
    erase_at: datetime


def seal(sealing: SealingKey, token: str) -> Evidence:
    """Return a token as it is kept."""
    salt = os.urandom(_SALT)
    commitment = _commitment(salt, token)
    return Evidence(sealing.seal(token.encode(), _context(commitment)), salt, commitment)


def keep(connection: Connection, identity_id: str, account_id: str, evidence: Evidence, erase_at: datetime) -> None:
    """Store the evidence of an identity."""
    connection.execute(
        identity_evidence.insert(),
        {
            "identity_id": identity_id,
            "account_id": account_id,
            "sealed": evidence.sealed,
            "salt": evidence.salt,
            "erase_at": erase_at,
        },
    )


def account_of(connection: Connection, identity_id: str) -> str:
    """Return whose identity it was; raises `NotFound`."""
    return str(_find(connection, identity_id).account_id)


def show(connection: Connection, chain: Chain, sealing: SealingKey, identity_id: str, now: datetime) -> Shown:
    """Return the evidence of an identity, held against the ledger; that it was looked at is recorded.

    Raises `NotFound`, `Conflict` when it is erased or is not what the ledger has the commitment to, `KeyUnavailable`.
    """
    row = _find(connection, identity_id)
    if row.sealed is None:
        raise Conflict("The evidence was erased.", {"evidence": f"was erased {row.erased_at:%Y-%m-%d}"})
    entry, commitment = _committed(connection, identity_id)
    token = sealing.unseal(bytes(row.sealed), _context(commitment)).decode()
    if not hmac.compare_digest(_commitment(bytes(row.salt), token), commitment):
        raise Conflict("The evidence is not what the ledger says.", {"evidence": "does not fit its commitment"})
    chain.append(connection, [Event(now, "evidence.shown", row.account_id, identity_id)])
    header, claims = (msgspec.json.decode(decoded(part), type=dict[str, Any]) for part in token.split(".")[:2])
    return Shown(identity_id, row.account_id, token, header, claims, entry, row.erase_at)


def erase(connection: Connection, chain: Chain, identity_id: str, reason: str, now: datetime) -> None:
    """Erase the evidence of an identity; raises `NotFound`, `ContentRefused`, or `Conflict` when it was erased."""
    fault = text.fault_of_text(reason, 200)
    if fault is not None:
        raise ContentRefused("The reason cannot be recorded.", {"reason": fault})
    row = _find(connection, identity_id)
    if row.sealed is None:
        raise Conflict("The evidence was erased.", {"evidence": f"was erased {row.erased_at:%Y-%m-%d}"})
    _erase(connection, chain, [(identity_id, row.account_id)], reason, now)


def overdue(connection: Connection, now: datetime) -> list[tuple[str, str]]:
    """Return identities, each with its account, whose evidence has been kept for long enough."""
    query = (
        select(identity_evidence.c.identity_id, identity_evidence.c.account_id)
        .where(identity_evidence.c.erase_at <= now, identity_evidence.c.sealed.is_not(None))
        .limit(_MOST_AT_ONCE)
    )
    return [(identity, account) for identity, account in connection.execute(query)]


def erase_overdue(connection: Connection, chain: Chain, now: datetime) -> None:
    """Erase what has been kept for long enough."""
    _erase(connection, chain, overdue(connection, now), "retention", now)


def until(now: datetime, days: int) -> datetime:
    """Return when evidence of `now` is erased."""
    return now + timedelta(days=days)


def _erase(connection: Connection, chain: Chain, found: Sequence[tuple[str, str]], reason: str, now: datetime) -> None:
    connection.execute(
        update(identity_evidence)
        .where(identity_evidence.c.identity_id.in_([identity for identity, _ in found]))
        .values(sealed=None, salt=None, erased_at=now)
    )
    chain.append(
        connection,
        [Event(now, "evidence.erased", account, identity, None, {"reason": reason}) for identity, account in found],
    )


def _find(connection: Connection, identity_id: str) -> Any:
    query = select(identity_evidence).where(identity_evidence.c.identity_id == identity_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound("There is no evidence of such an identity.", {"identity": "not found"})
    return row


def _committed(connection: Connection, identity_id: str) -> tuple[str, str]:
    """Return the entry of an identity and the commitment in it; raises `Conflict` when there is none."""
    for one in writer.entries(connection, identity_id, "identity.created"):
        commitment = msgspec.json.decode(one.body)["details"].get("verification", {}).get("evidence")
        if commitment is not None:
            return f"{one.chain}#{one.sequence}", str(commitment)
    raise Conflict("The ledger knows of no such evidence.", {"evidence": "has no commitment in the ledger"})


def _commitment(salt: bytes, token: str) -> str:
    return hashlib.sha256(salt + token.encode()).hexdigest()


def _context(commitment: str) -> str:
    return f"identity evidence {commitment}"
