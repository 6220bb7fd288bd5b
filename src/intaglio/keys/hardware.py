"""Custody on a PKCS#11 token: the service's own keys, and the two ways to hold identities' keys there.

What the database and the home folder hold are references and wrapped keys, each sealed under the master key for its
place: neither opens without the token, and neither can be put in another's place.
"""

import hashlib
import secrets
from collections.abc import Collection

from intaglio.errors import KeyUnavailable
from intaglio.keys import software
from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey, public_key_der, public_key_of
from intaglio.keys.attestation import SOFTWARE, Attestation
from intaglio.keys.custody import Form, SealedKey, place_of
from intaglio.keys.sealing import SealingKey
from intaglio.keys.token import Token

# What a reference begins with, where the PKCS#8 of a software key begins with a SEQUENCE.
_REFERENCE = b"pkcs11:"
_ID_LENGTH = 16


class TokenCustody:
    """The service's own keys on a token; those in `software_names` stay in software, because their user needs them.

    A key that was made in software before there was a token goes on to open; no new one is ever made there.
    """

    def __init__(self, token: Token, sealing: SealingKey, software_names: frozenset[str]) -> None:
        self._token = token
        self._sealing = sealing
        self._software_names = software_names
        # The ids of keys made here and not sealed yet, by public key.
        self._made: dict[bytes, bytes] = {}

    def generate(self, algorithm: KeyAlgorithm, name: str) -> PrivateKey:
        """Make a key pair on the token, labelled with `name`."""
        if name in self._software_names:
            return software.generate(algorithm)
        key_id = secrets.token_bytes(_ID_LENGTH)
        key = self._token.generate(algorithm, key_id, f"intaglio {name}")
        self._made[public_key_der(key.public_key())] = key_id
        return key

    def seal(self, key: PrivateKey, context: str) -> bytes:
        """Return a sealed reference to a key that `generate` made; raises `KeyUnavailable` for any other."""
        if context in self._software_names:
            return software.seal(key, self._sealing, context)
        public_key = public_key_der(key.public_key())
        key_id = self._made.pop(public_key, None)
        if key_id is None:
            raise KeyUnavailable(f"the key of {context} was not made on the token")
        return self._sealing.seal(_REFERENCE + key_id + hashlib.sha256(public_key).digest(), context)

    def unseal(self, sealed: bytes, context: str) -> PrivateKey:
        """Return the key sealed for `context`; raises `KeyUnavailable`."""
        plain = self._sealing.unseal(sealed, context)
        if not plain.startswith(_REFERENCE):
            return software.load(plain, context)
        reference = plain.removeprefix(_REFERENCE)
        key = self._token.find(reference[:_ID_LENGTH])
        if hashlib.sha256(public_key_der(key.public_key())).digest() != reference[_ID_LENGTH:]:
            raise KeyUnavailable(f"the token holds another key than the one made for {context}")
        return key

    def destroy(self, sealed: bytes, context: str) -> None:
        """Destroy the key sealed for `context` on the token, if that is where it is."""
        plain = self._sealing.unseal(sealed, context)
        if plain.startswith(_REFERENCE):
            self._token.destroy(plain.removeprefix(_REFERENCE)[:_ID_LENGTH])

    def attest(self, sealed: bytes, context: str) -> Attestation:
        """Return what the token says of the key sealed for `context`, or that it is in software."""
        plain = self._sealing.unseal(sealed, context)
        if not plain.startswith(_REFERENCE):
            return SOFTWARE
        return self._token.attest(plain.removeprefix(_REFERENCE)[:_ID_LENGTH])


class WrappedIdentities:
    """Identities' keys made on the token and wrapped by a sealing key of the epoch that never leaves it.

    Every process with the same token can use every identity; the token holds one object for each epoch.
    """

    form = Form.WRAPPED

    def __init__(self, token: Token, sealing: SealingKey) -> None:
        self._token = token
        self._sealing = sealing

    def begin_epoch(self, epoch: str) -> None:
        """Make the sealing key of a new epoch on the token."""
        self._token.make_sealing_key(epoch.encode(), f"intaglio epoch {epoch}")

    def end_epoch(self, epoch: str) -> None:
        """Destroy the sealing key of an epoch on the token."""
        self._token.destroy_sealing_key(epoch.encode())

    def remember_only(self, epochs: Collection[str]) -> None:
        """Have the token destroy unwrapped keys that nothing uses any more."""
        del epochs
        self._token.sweep()

    def make(self, algorithm: KeyAlgorithm, epoch: str, key_id: str) -> tuple[bytes, bytes]:
        """Return a new key pair, wrapped and sealed, and its SubjectPublicKeyInfo."""
        wrapped, public_key = self._token.make_wrapped(algorithm, epoch.encode())
        der = public_key_der(public_key)
        return self._sealing.seal(wrapped, place_of(key_id, der)), der

    def open(self, key: SealedKey) -> PrivateKey:
        """Return the key, unwrapped in the token; raises `KeyUnavailable`."""
        wrapped = self._sealing.unseal(key.sealed, place_of(key.id, key.public_key))
        return self._token.unwrap(wrapped, public_key_of(key.public_key), key.epoch.encode())

    def discard(self, key: SealedKey) -> None:
        """Do nothing: the sealed text is all there is of it."""


class ResidentIdentities:
    """Identities' keys as objects of a token that cannot wrap; each is destroyed on its own."""

    form = Form.RESIDENT

    def __init__(self, token: Token, sealing: SealingKey) -> None:
        self._token = token
        self._sealing = sealing

    def begin_epoch(self, epoch: str) -> None:
        """Do nothing: no key depends on another."""

    def end_epoch(self, epoch: str) -> None:
        """Do nothing: no key depends on another."""

    def remember_only(self, epochs: Collection[str]) -> None:
        """Do nothing: keys are found again when they are used."""

    def make(self, algorithm: KeyAlgorithm, epoch: str, key_id: str) -> tuple[bytes, bytes]:
        """Return a sealed reference to a new key pair on the token, and its SubjectPublicKeyInfo."""
        del epoch
        key = self._token.generate(algorithm, bytes.fromhex(key_id), f"intaglio identity {key_id}")
        der = public_key_der(key.public_key())
        return self._sealing.seal(_REFERENCE, place_of(key_id, der)), der

    def open(self, key: SealedKey) -> PrivateKey:
        """Return the key; raises `KeyUnavailable` when it is destroyed, or another."""
        self._sealing.unseal(key.sealed, place_of(key.id, key.public_key))
        found = self._token.find(bytes.fromhex(key.id))
        if public_key_der(found.public_key()) != key.public_key:
            raise KeyUnavailable(f"the token holds another key than the one made for {key.id}")
        return found

    def discard(self, key: SealedKey) -> None:
        """Destroy the key on the token."""
        self._token.destroy(bytes.fromhex(key.id))
