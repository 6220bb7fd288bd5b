"""What a person signs when asking for something, deciding on it, or doing it alone.

The bytes that were signed and the signature stand in the ledger: that somebody agreed can be checked without trusting
whoever keeps the database.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature

from intaglio.errors import ContentRefused
from intaglio.staff.signature import PersonKey, SecretKey, check, sign

# Keeps a signature from meaning anything anywhere else.
_PURPOSE = "intaglio staff statement"

_encoder = msgspec.json.Encoder(order="sorted")


class Deed(StrEnum):
    """What a statement says."""

    ASK = "ask"
    APPROVE = "approve"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"
    DO = "do"


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That `person`, known by `certificate`, at `at` asks for, decides on or does `act`.

    `content` is the SHA-256 (hex) of what the act is to do, and of all that is shown of it; `approval` and
    `expires` are those of what waits, None for what one person does alone.
    """

    deed: Deed
    act: str
    content: str
    person: str
    certificate: str
    at: datetime
    approval: str | None = None
    expires: datetime | None = None
    account: str | None = None
    purpose: str = _PURPOSE


def content_hash(content: Any) -> str:
    """Return the SHA-256 (hex) of a JSON value, as `encode` writes it."""
    return hashlib.sha256(encode(content)).hexdigest()


def encode(value: Any) -> bytes:
    """Return JSON with sorted keys: the same for the same value."""
    return _encoder.encode(value)


def signed(key: SecretKey, statement: Statement) -> dict[str, str]:
    """Return a statement and its signature as they stand in the ledger: the signed text, and base64."""
    content = encode(statement)
    return {"statement": content.decode(), "signature": base64.b64encode(sign(key, content)).decode()}


def read(details: Mapping[str, Any]) -> tuple[Statement, bytes, bytes]:
    """Return the statement in an entry's details, the bytes signed and the signature; raises `ContentRefused`."""
    try:
        content = details["statement"].encode()
        statement = msgspec.json.decode(content, type=Statement)
        signature = base64.b64decode(details["signature"], validate=True)
    except (KeyError, AttributeError, msgspec.MsgspecError, binascii.Error, TypeError) as error:
        raise ContentRefused("There is no statement here.", {"statement": str(error)}) from error
    if statement.purpose != _PURPOSE:
        raise ContentRefused("The statement is for something else.", {"statement": "purpose"})
    return statement, content, signature


def check_signature(key: PersonKey, content: bytes, signature: bytes) -> None:
    """Raise `ContentRefused` unless `key` signed `content`."""
    try:
        check(key, signature, content)
    except (InvalidSignature, ValueError) as error:
        raise ContentRefused("The statement is not signed by this key.", {"signature": "does not hold"}) from error
