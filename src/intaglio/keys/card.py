"""One signature by a key on somebody's card, for a PIN given for that one: to be done in a process of its own.

Being logged in belongs to a process (PKCS#11 v3.1 §5.6). Where something has logged in already, the module would sign
for any PIN: then this refuses.
"""

import ctypes
from ctypes import byref, c_ubyte, c_ulong
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from intaglio.errors import KeyUnavailable, Unauthenticated
from intaglio.keys import cryptoki as c
from intaglio.keys import layout
from intaglio.keys.module import Module, load
from intaglio.keys.pin import check_flags

_MOST_SIGNATURE = 1024
# DigestInfo up to the digest itself (RFC 8017 §9.2 note 1).
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
_WRONG_PIN = frozenset({c.CKR_PIN_INCORRECT, c.CKR_PIN_INVALID, c.CKR_PIN_LEN_RANGE})
_CKU_CONTEXT_SPECIFIC = 2
_CKA_ALWAYS_AUTHENTICATE = 0x202
# A signature on P-256 is two numbers of 32 octets, one after the other (PKCS#11 v3.1 §6.3.1).
_HALF = 32


class CardKey(msgspec.Struct, frozen=True):
    """A private key on a card: P-256, or RSA.

    It is found by its label or its id (hex), on the token of this label and, if given, this serial number.
    """

    module: str
    token: str
    serial: str | None
    label: str | None
    key_id: str | None
    rsa: bool


def sign_once(card: CardKey, pin: str, digest: bytes) -> bytes:
    """Return the signature over a SHA-256 digest, PKCS#1 v1.5 or ECDSA in DER.

    Raises `Unauthenticated` for a wrong PIN, which costs one try, `KeyUnavailable` for all that keeps the card from it.
    """
    module = load(Path(card.module))
    module.initialise()
    slot = _slot(module, card)
    session = module.open_session(slot, writing=False)
    token = module.token(slot)
    check_flags(token)
    if not token.flags & c.CKF_LOGIN_REQUIRED:
        raise KeyUnavailable(f"the token {card.token} needs no PIN: whoever holds it would confirm")
    _log_in(module, session, c.CKU_USER, card, pin)
    key = _key(module, session, card)
    mechanism = layout.mechanism(c.CKM_RSA_PKCS if card.rsa else c.CKM_ECDSA)
    module.call("C_SignInit", session, ctypes.addressof(mechanism), key)
    if _always(module, session, key):
        _log_in(module, session, _CKU_CONTEXT_SPECIFIC, card, pin)
    content = (_SHA256_INFO if card.rsa else b"") + digest
    out = ctypes.create_string_buffer(_MOST_SIGNATURE)
    length = c_ulong(_MOST_SIGNATURE)
    module.call("C_Sign", session, content, len(content), ctypes.addressof(out), ctypes.addressof(length))
    made = out.raw[: length.value]
    if card.rsa:
        return made
    return encode_dss_signature(int.from_bytes(made[:_HALF], "big"), int.from_bytes(made[_HALF:], "big"))


def _slot(module: Module, card: CardKey) -> int:
    slots = [
        slot
        for slot, token in module.tokens()
        if c.text(token.label) == card.token and card.serial in {None, c.text(token.serialNumber)}
    ]
    if len(slots) != 1:
        raise KeyUnavailable(f"{len(slots)} tokens are there with the label {card.token!r}, not one")
    return slots[0]


def _log_in(module: Module, session: int, user: int, card: CardKey, pin: str) -> None:
    secret = pin.encode()
    code = module.functions["C_Login"](session, user, secret, len(secret))
    if code in _WRONG_PIN:
        raise Unauthenticated("The PIN is wrong; after a few wrong ones the token locks itself.")
    if code != c.CKR_OK:
        # Also CKR_USER_ALREADY_LOGGED_IN: then nobody has shown that the PIN is known.
        raise KeyUnavailable(f"the token {card.token} does not log in: {c.name_of(code)}")


def _key(module: Module, session: int, card: CardKey) -> int:
    wanted: dict[int, bytes | bool | int | layout.Template] = {
        c.CKA_CLASS: c.CKO_PRIVATE_KEY,
        c.CKA_KEY_TYPE: c.CKK_RSA if card.rsa else c.CKK_EC,
    }
    if card.label is not None:
        wanted[c.CKA_LABEL] = card.label.encode()
    if card.key_id is not None:
        wanted[c.CKA_ID] = bytes.fromhex(card.key_id)
    template = layout.Template(wanted)
    module.call("C_FindObjectsInit", session, template.address, template.count)
    handles = (c_ulong * 2)()
    count = c_ulong()
    module.call("C_FindObjects", session, handles, 2, byref(count))
    module.call("C_FindObjectsFinal", session)
    if count.value != 1:
        found = "more than one private key" if count.value else "no private key"
        raise KeyUnavailable(f"the token {card.token} has {found} of the label or id in the script")
    return int(handles[0])


def _always(module: Module, session: int, key: int) -> bool:
    """Return whether the card wants the PIN for each signature by itself, as the signature key of PIV does."""
    value = c_ubyte()
    attribute = layout.CK_ATTRIBUTE(_CKA_ALWAYS_AUTHENTICATE, ctypes.addressof(value), 1)
    code = module.functions["C_GetAttributeValue"](session, key, ctypes.addressof(attribute), 1)
    return bool(code == c.CKR_OK and value.value)
