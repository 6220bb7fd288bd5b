"""A signed head: size and root of the tree at a time, as a C2SP tlog-checkpoint, which is a signed note.

The signature is ECDSA with SHA-256 (type 0x02 of C2SP signed-note), so that the key can be on a token.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from intaglio.errors import Malformed

_ECDSA_SHA256 = b"\x02"
_KEY_ID_BYTES = 4
_TIME = "time "


class Head(msgspec.Struct, frozen=True):
    """The root over the first `size` entries, as it was at a time."""

    size: int
    root: bytes
    at: datetime


class VerifyingKey(msgspec.Struct, frozen=True):
    """The key of a ledger by its name, which is the origin of heads; `key` is a SubjectPublicKeyInfo, DER."""

    name: str
    key: bytes

    @property
    def id(self) -> bytes:
        """What signatures are marked with: of 0x02 it is the beginning of the key's hash (C2SP signed-note)."""
        return hashlib.sha256(self.key).digest()[:_KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """The key in one line, as tools for signed notes take it."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ECDSA_SHA256 + self.key).decode()}"


def key_of(name: str, key: ec.EllipticCurvePublicKey) -> VerifyingKey:
    """Return what heads that `key` signs are verified with."""
    return VerifyingKey(name, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def read_key(text: str) -> VerifyingKey:
    """Return the key in a line as `VerifyingKey.text` gives it; raises `Malformed`."""
    name, _, rest = text.strip().partition("+")
    identifier, _, encoded = rest.partition("+")
    try:
        raw = base64.b64decode(encoded, validate=True)
        found = VerifyingKey(name, raw[1:])
        known = load_der_public_key(found.key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("The key of the ledger cannot be read.", {"key": "must be NAME+ID+BASE64"}) from error
    p256 = isinstance(known, ec.EllipticCurvePublicKey) and isinstance(known.curve, ec.SECP256R1)
    if raw[:1] != _ECDSA_SHA256 or not p256 or found.id.hex() != identifier or not name:
        raise Malformed("The key of the ledger cannot be read.", {"key": "must be of ECDSA on P-256 (type 0x02)"})
    return found


def signed(head: Head, key: VerifyingKey, sign: Callable[[bytes], bytes]) -> str:
    """Return the signed note of a head; `sign` gives the ECDSA signature with SHA-256 over its argument, DER."""
    text = _text(key.name, head)
    signature = base64.b64encode(key.id + sign(text.encode())).decode()
    return f"{text}\n— {key.name} {signature}\n"


def opened(note: str, key: VerifyingKey) -> Head:
    """Return the head of a signed note; raises `Malformed` unless it is signed by `key`."""
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    try:
        origin, head = _read(text)
    except (ValueError, binascii.Error) as error:
        raise Malformed("A head of the ledger cannot be read.", {"head": "is no checkpoint"}) from error
    if origin != key.name:
        raise Malformed("The head is of another ledger.", {"head": f"is of {origin}, not of {key.name}"})
    for line in signatures.splitlines():
        if _is_signed(text, line, key):
            return head
    raise Malformed(
        "The head is not signed by this ledger's key.", {"head": f"of size {head.size} has no such signature"}
    )


def _read(text: str) -> tuple[str, Head]:
    """Return origin and head; raises `ValueError` for anything that is not written as `signed` does."""
    origin, size, root, time, _ = text.split("\n")
    at = datetime.fromisoformat(time.removeprefix(_TIME))
    head = Head(int(size), base64.b64decode(root, validate=True), at)
    if _text(origin, head) != text:
        raise ValueError(text)
    return origin, head


def _is_signed(text: str, line: str, key: VerifyingKey) -> bool:
    prefix = f"— {key.name} "
    if not line.startswith(prefix):
        return False
    public = load_der_public_key(key.key)
    try:
        raw = base64.b64decode(line.removeprefix(prefix), validate=True)
        if not hmac.compare_digest(raw[:_KEY_ID_BYTES], key.id) or not isinstance(public, ec.EllipticCurvePublicKey):
            return False
        public.verify(raw[_KEY_ID_BYTES:], text.encode(), ec.ECDSA(hashes.SHA256()))
    except (ValueError, binascii.Error, InvalidSignature):
        return False
    return True


def _text(origin: str, head: Head) -> str:
    at = head.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n{_TIME}{at}\n"
