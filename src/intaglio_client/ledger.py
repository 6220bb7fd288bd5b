"""Reading what a ledger signs, and proofs in its tree: signed notes (C2SP tlog-checkpoint) and RFC 9162 §2.1.3."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from intaglio_client.errors import Unusable

# ECDSA with SHA-256 (C2SP signed-note).
_ECDSA_SHA256 = b"\x02"
_KEY_ID_BYTES = 4


class NotProven(Exception):
    """Something does not fit; `str()` says what, in a sentence for a person."""


class Head(msgspec.Struct, frozen=True):
    """The root over so many entries, as a ledger signed it; `at` is by the clock of the service."""

    origin: str
    size: int
    root: bytes
    at: datetime


class LedgerKey:
    """The key of a ledger, from a line `NAME+ID+BASE64`; raises `Unusable` for any other."""

    def __init__(self, line: str) -> None:
        self.line = line.strip()
        self.name, _, rest = self.line.partition("+")
        identifier, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
            key = load_der_public_key(raw[1:])
        except (ValueError, UnsupportedAlgorithm) as unreadable:
            raise Unusable("The key of the ledger must be a line NAME+ID+BASE64.") from unreadable
        self.id = hashlib.sha256(raw[1:]).digest()[:_KEY_ID_BYTES]
        if raw[:1] != _ECDSA_SHA256 or not isinstance(key, ec.EllipticCurvePublicKey) or identifier != self.id.hex():
            raise Unusable("The key of the ledger must be one of ECDSA (type 0x02).")
        self._key = key

    def check(self, signature: bytes, content: bytes, what: str) -> None:
        """Raise `NotProven` unless the ledger signed `content`."""
        try:
            self._key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise NotProven(f"{what} is not signed by the ledger's key") from error

    def head(self, note: str) -> Head:
        """Return the head of a signed note; raises `NotProven`."""
        text, _, signatures = note.rpartition("\n\n")
        text += "\n"
        try:
            origin, size, root, time, end = text.split("\n")
            at = datetime.fromisoformat(time.removeprefix("time ")).astimezone(UTC)
            head = Head(origin, int(size), base64.b64decode(root, validate=True), at)
            dash, name, encoded = signatures.removesuffix("\n").split(" ")
            signature = base64.b64decode(encoded, validate=True)
        except (ValueError, OverflowError) as unreadable:
            raise NotProven("the head cannot be read") from unreadable
        if end or dash != "—" or name != self.name or origin != self.name or signature[:_KEY_ID_BYTES] != self.id:
            raise NotProven("the head is of another ledger")
        self.check(signature[_KEY_ID_BYTES:], text.encode(), "the head")
        return head


def entry_hash(previous: bytes, body: bytes) -> bytes:
    """Return the hash of an entry, over the one before it and its own bytes."""
    return hashlib.sha256(previous + body).digest()


def check_included(hash_of_entry: bytes, index: int, proof: Sequence[bytes], head: Head) -> None:
    """Raise `NotProven` unless the entry is the leaf `index` of the tree of a head (RFC 9162 §2.1.3.2)."""
    node, last = index, head.size - 1
    found = hashlib.sha256(b"\x00" + hash_of_entry).digest()
    if not 0 <= node <= last:
        raise NotProven("an entry is not among those that the head is over")
    for beside in proof:
        if last == 0:
            raise NotProven("a proof is too long")
        if node & 1 or node == last:
            found = hashlib.sha256(b"\x01" + beside + found).digest()
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + beside).digest()
        node, last = node >> 1, last >> 1
    if last or found != head.root:
        raise NotProven("an entry is not in the tree that the ledger signed")
