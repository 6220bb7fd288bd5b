"""Sealing: AES-256-GCM under a key-encryption key, bound to the place where the sealed text belongs.

A sealed text is `version (1) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`. The context (what the key is for) is
authenticated, so one key's sealed text can't be put in another's place.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from intaglio.errors import KeyUnavailable

_VERSION = b"\x01"
_NONCE_LENGTH = 12


class SealingKey:
    """A key-encryption key derived from the master key for one purpose (HKDF, RFC 5869)."""

    def __init__(self, master: bytes, purpose: str) -> None:
        derived = HKDF(SHA256(), length=32, salt=None, info=f"intaglio {purpose}".encode()).derive(master)
        self._cipher = AESGCM(derived)

    def seal(self, plain: bytes, context: str) -> bytes:
        """Return `plain` sealed for `context`."""
        # Random 96-bit nonces stay safe for 2^32 seals under one key (NIST SP 800-38D §8.3).
        nonce = os.urandom(_NONCE_LENGTH)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes:
        """Return what was sealed for `context`; raises `KeyUnavailable` if it was not, or was changed."""
        if sealed[:1] != _VERSION:
            raise KeyUnavailable(f"the sealed key of {context} has an unknown form")
        nonce, text = sealed[1 : 1 + _NONCE_LENGTH], sealed[1 + _NONCE_LENGTH :]
        try:
            return self._cipher.decrypt(nonce, text, context.encode())
        except (InvalidTag, ValueError) as error:
            raise KeyUnavailable(
                f"the sealed key of {context} does not open: wrong master key, or it was changed"
            ) from error
