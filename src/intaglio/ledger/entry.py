"""One entry of the ledger and its place in the chain.

The hash of an entry covers its bytes and the hash before it, so that a changed, missing, added or
reordered entry breaks every hash after it.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

# What the first entry of a chain has in place of a hash before it.
GENESIS = bytes(32)

_encoder = msgspec.json.Encoder(order="sorted")


class Event(msgspec.Struct, frozen=True):
    """Something that happened, before it has its place in a chain.

    `kind` is dotted (`signature.made`, `request.refused`); `reference` is what the event is about: an
    identity's id, a certificate's serial number. `details` holds JSON values, never secrets.
    """

    at: datetime
    kind: str
    account_id: str | None = None
    reference: str | None = None
    request_id: str | None = None
    details: Mapping[str, Any] = {}


class Entry(msgspec.Struct, frozen=True):
    """An event in its place: `body` is what is hashed, `hash` = SHA-256(`previous` ‖ `body`)."""

    chain: str
    sequence: int
    event: Event
    body: bytes
    previous: bytes
    hash: bytes


def chained(chain: str, sequence: int, actor: str, event: Event, previous: bytes, approval: str | None = None) -> Entry:
    """Return the entry that puts `event`, done by `actor`, behind the one whose hash is `previous`.

    `approval` is the id of that under which it was done, if two people had to agree.
    """
    written = {
        "chain": chain,
        "sequence": sequence,
        "at": event.at,
        "actor": actor,
        "kind": event.kind,
        "account_id": event.account_id,
        "reference": event.reference,
        "request_id": event.request_id,
        "details": event.details,
    }
    if approval is not None:
        written["approval"] = approval
    body = _encoder.encode(written)
    return Entry(chain, sequence, event, body, previous, entry_hash(previous, body))


def entry_hash(previous: bytes, body: bytes) -> bytes:
    """Return SHA-256 over the hash before and the entry's bytes."""
    return hashlib.sha256(previous + body).digest()
