"""Objects on a token: how keys are described to be made, how they are found, and what is read of them."""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import byref, c_char, c_ulong

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from intaglio.errors import KeyUnavailable
from intaglio.keys import cryptoki as c
from intaglio.keys import layout
from intaglio.keys.algorithm import CURVES, RSA_BITS, KeyAlgorithm, PublicKey
from intaglio.keys.layout import Template
from intaglio.keys.module import CallFailed
from intaglio.keys.presence import Session
from intaglio.keys.sessions import Sessions

HANDLE_INVALID = frozenset({c.CKR_KEY_HANDLE_INVALID, c.CKR_OBJECT_HANDLE_INVALID})
_MOST_FOUND = 64
# How often to look while another process changes the token, too: SoftHSM reads its store anew then, and for a moment
# may not find what is there, or find what is not. The pause doubles: the busier the machine, the longer the moment.
_LOOKS = 6
_PAUSE_SECONDS = 0.01
# Object identifiers of curves, DER (RFC 5480 §2.1.1.1)
_CURVE_OIDS = {
    KeyAlgorithm.P_256: bytes.fromhex("06082a8648ce3d030107"),
    KeyAlgorithm.P_384: bytes.fromhex("06052b81040022"),
}
# Nothing but signing. Each is said, since the defaults are the token's own.
_SIGNS_ONLY: dict[int, bool] = {
    c.CKA_SIGN: True,
    c.CKA_SIGN_RECOVER: False,
    c.CKA_DECRYPT: False,
    c.CKA_UNWRAP: False,
    c.CKA_DERIVE: False,
}


def public_template(algorithm: KeyAlgorithm, *, stored: bool, key_id: bytes = b"", label: str = "") -> Template:
    """Return the public half of a pair to be made."""
    kind: dict[int, bytes | int]
    if algorithm in RSA_BITS:
        kind = {c.CKA_MODULUS_BITS: RSA_BITS[algorithm], c.CKA_PUBLIC_EXPONENT: b"\x01\x00\x01"}
    else:
        kind = {c.CKA_EC_PARAMS: _CURVE_OIDS[algorithm]}
    return Template({c.CKA_TOKEN: stored, c.CKA_PRIVATE: False, c.CKA_VERIFY: True, **kind, **_names(key_id, label)})


def private_template(*, stored: bool, extractable: bool = False, key_id: bytes = b"", label: str = "") -> Template:
    """Return the private half of a pair to be made."""
    return Template(
        {
            c.CKA_TOKEN: stored,
            c.CKA_PRIVATE: True,
            c.CKA_SENSITIVE: True,
            c.CKA_EXTRACTABLE: extractable,
            **_SIGNS_ONLY,
            **_names(key_id, label),
        }
    )


def unwrapped_template(public_key: PublicKey, *, extractable: bool = False) -> Template:
    """Return a private key as it is to be when unwrapped: for this session, to sign, never to leave again."""
    return Template(
        {
            c.CKA_CLASS: c.CKO_PRIVATE_KEY,
            c.CKA_KEY_TYPE: c.CKK_RSA if isinstance(public_key, rsa.RSAPublicKey) else c.CKK_EC,
            c.CKA_TOKEN: False,
            c.CKA_PRIVATE: True,
            c.CKA_SENSITIVE: True,
            c.CKA_EXTRACTABLE: extractable,
            **_SIGNS_ONLY,
        }
    )


def sealing_template(key_id: bytes, label: str, *, bound: bool) -> Template:
    """Return a sealing key to be made: AES-256 that wraps and unwraps, and does nothing else.

    If `bound`, the token itself sees to it that what this key unwraps can never leave it again.
    """
    attributes: dict[int, bytes | bool | int | Template] = {
        c.CKA_TOKEN: True,
        c.CKA_PRIVATE: True,
        c.CKA_SENSITIVE: True,
        c.CKA_EXTRACTABLE: False,
        c.CKA_VALUE_LEN: 32,
        c.CKA_WRAP: True,
        c.CKA_UNWRAP: True,
        c.CKA_ENCRYPT: False,
        c.CKA_DECRYPT: False,
        c.CKA_SIGN: False,
        c.CKA_VERIFY: False,
        c.CKA_DERIVE: False,
        **_names(key_id, label),
    }
    if bound:
        attributes[c.CKA_UNWRAP_TEMPLATE] = Template({c.CKA_SENSITIVE: True, c.CKA_EXTRACTABLE: False})
    return Template(attributes)


def find(sessions: Sessions, session: Session, kind: int, key_id: bytes | None = None) -> list[int]:
    """Return the handles of the objects of a class stored on the token, all or those with an id."""
    wanted: dict[int, bytes | bool | int] = {c.CKA_CLASS: kind, c.CKA_TOKEN: True}
    if key_id is not None:
        wanted[c.CKA_ID] = key_id
    template = Template(wanted)
    sessions.call(session, "C_FindObjectsInit", template.address, template.count)
    found: list[int] = []
    handles, count = (c_ulong * _MOST_FOUND)(), c_ulong()
    try:
        while True:
            sessions.call(session, "C_FindObjects", handles, _MOST_FOUND, byref(count))
            if count.value == 0:
                return found
            found += handles[: count.value]
    finally:
        # A search left open would make the session useless; if this fails, then so did what came before.
        sessions.module.functions["C_FindObjectsFinal"](session.handle)


def find_one(sessions: Sessions, session: Session, kind: int, key_id: bytes) -> int:
    """Return the handle of the stored object with an id; raises `KeyUnavailable`.

    Should there be several, it is one of them: whether it is the right one shows in what it does.
    """
    for look in range(_LOOKS):
        if look:
            time.sleep(_PAUSE_SECONDS * 2 ** (look - 1))
        handles = find(sessions, session, kind, key_id)
        if handles:
            return handles[0]
    what = "sealing key" if kind == c.CKO_SECRET_KEY else "key"
    raise KeyUnavailable(f"there is no {what} with id {key_id.hex()} on the token")


@contextmanager
def doubting(sessions: Sessions, session: Session) -> Iterator[None]:
    """Look again for what has vanished; if it stays away and everything else has gone, too, give the token up.

    A module may believe for ever that a store is empty which it could not reach for a moment (SoftHSM does).
    """
    try:
        yield
    except KeyUnavailable:
        with suppress(KeyUnavailable):
            if not any(find(sessions, session, kind) for kind in (c.CKO_PRIVATE_KEY, c.CKO_SECRET_KEY)):
                sessions.give_up(session.presence, anew=True)
        raise


def destroy(sessions: Sessions, session: Session, handle: int) -> None:
    """Destroy an object; that it is gone already is no error."""
    try:
        sessions.call(session, "C_DestroyObject", handle)
    except CallFailed as error:
        if error.code not in HANDLE_INVALID:
            raise


def destroy_stored(sessions: Sessions, session: Session, kind: int, key_id: bytes) -> None:
    """Destroy every stored object of a class with an id; raises `KeyUnavailable` unless they are gone."""
    for _ in range(_LOOKS):
        handles = find(sessions, session, kind, key_id)
        if not handles:
            return
        for handle in handles:
            destroy(sessions, session, handle)
    if find(sessions, session, kind, key_id):
        raise KeyUnavailable(f"the token did not destroy the key with id {key_id.hex()}")


def attribute(sessions: Sessions, session: Session, handle: int, kind: int) -> bytes | None:
    """Return one attribute of an object, or None if it has no such attribute or does not tell."""
    asked = layout.CK_ATTRIBUTE(kind, None, 0)
    address = ctypes.addressof(asked)
    try:
        sessions.call(session, "C_GetAttributeValue", handle, address, 1)
        if asked.ulValueLen == layout.CK_UNAVAILABLE_INFORMATION:
            return None
        value: ctypes.Array[c_char] = (c_char * int(asked.ulValueLen))()
        asked.pValue = ctypes.addressof(value)
        sessions.call(session, "C_GetAttributeValue", handle, address, 1)
    except CallFailed as error:
        if error.code in {c.CKR_ATTRIBUTE_SENSITIVE, c.CKR_ATTRIBUTE_TYPE_INVALID}:
            return None
        raise
    return value.raw[: int(asked.ulValueLen)]


def public_key(sessions: Sessions, session: Session, handle: int) -> PublicKey | None:
    """Return the public key that an object tells of, its own or its pair's, or None if it does not tell."""
    modulus = attribute(sessions, session, handle, c.CKA_MODULUS)
    if modulus:
        exponent = attribute(sessions, session, handle, c.CKA_PUBLIC_EXPONENT)
        if not exponent:
            return None
        return rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
    parameters = attribute(sessions, session, handle, c.CKA_EC_PARAMS)
    point = attribute(sessions, session, handle, c.CKA_EC_POINT)
    algorithm = next((one for one, oid in _CURVE_OIDS.items() if oid == parameters), None)
    if algorithm is None or not point:
        return None
    curve = CURVES[algorithm]()
    # An uncompressed point in an OCTET STRING (PKCS#11 v3.1 §6.3.3); some tokens leave the OCTET STRING out.
    length = 1 + 2 * ((curve.key_size + 7) // 8)
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, point[-length:])
    except ValueError as error:
        raise KeyUnavailable("the token told a public key that is no point of its curve") from error


def _names(key_id: bytes, label: str) -> dict[int, bytes]:
    named = {c.CKA_ID: key_id} if key_id else {}
    return named | ({c.CKA_LABEL: label.encode()} if label else {})
