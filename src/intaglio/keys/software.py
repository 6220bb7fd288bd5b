"""Custody in software: keys live in this process's memory and rest sealed under the master key."""

from collections.abc import Collection

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from intaglio.errors import KeyUnavailable
from intaglio.keys.algorithm import CURVES, RSA_BITS, KeyAlgorithm, PrivateKey, public_key_der
from intaglio.keys.attestation import SOFTWARE, Attestation
from intaglio.keys.custody import Form, SealedKey, place_of
from intaglio.keys.epoch_files import EpochFiles
from intaglio.keys.sealing import SealingKey

_SEQUENCE = b"\x30"


def generate(algorithm: KeyAlgorithm) -> PrivateKey:
    """Return a new private key of the operating system's randomness."""
    if algorithm in RSA_BITS:
        return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS[algorithm])
    return ec.generate_private_key(CURVES[algorithm]())


def seal(key: PrivateKey, sealing: SealingKey, context: str) -> bytes:
    """Return the PKCS#8 form of `key`, sealed for `context`."""
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return sealing.seal(plain, context)


def load(plain: bytes, context: str) -> PrivateKey:
    """Return the key of an unsealed PKCS#8 text; raises `KeyUnavailable` for anything else.

    What else there may be is a reference to a token: a service that lost its [hsm] settings must say so.
    """
    if not plain.startswith(_SEQUENCE):
        raise KeyUnavailable(f"the key of {context} is not in software: it needs the token of the [hsm] settings")
    # The sealed text was authenticated: what opens is what we made and need not be proven prime again,
    # which would cost 50 ms instead of 5 µs.
    key = load_der_private_key(plain, None, unsafe_skip_rsa_key_validation=True)
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise KeyUnavailable(f"the sealed key of {context} is of an unknown kind")


class SoftwareCustody:
    """The service's own keys, sealed with AES-256-GCM."""

    def __init__(self, sealing: SealingKey) -> None:
        self._sealing = sealing

    def generate(self, algorithm: KeyAlgorithm, name: str) -> PrivateKey:
        """Return a new private key; in memory it has no name."""
        del name
        return generate(algorithm)

    def seal(self, key: PrivateKey, context: str) -> bytes:
        """Return the PKCS#8 form of `key`, sealed for `context`."""
        return seal(key, self._sealing, context)

    def unseal(self, sealed: bytes, context: str) -> PrivateKey:
        """Return the key sealed for `context`; raises `KeyUnavailable`."""
        return load(self._sealing.unseal(sealed, context), context)

    def destroy(self, sealed: bytes, context: str) -> None:
        """Do nothing: the sealed text is all there is of it."""

    def attest(self, sealed: bytes, context: str) -> Attestation:
        """Return that it is in software; raises `KeyUnavailable` if it does not open."""
        self.unseal(sealed, context)
        return SOFTWARE


class SoftwareIdentities:
    """Identities' keys, sealed under the secrets of epochs, which are files beside the database."""

    form = Form.SOFTWARE

    def __init__(self, epochs: EpochFiles) -> None:
        self._epochs = epochs

    def begin_epoch(self, epoch: str) -> None:
        """Make the secret of a new epoch."""
        self._epochs.begin(epoch)

    def end_epoch(self, epoch: str) -> None:
        """Destroy the secret of an epoch."""
        self._epochs.end(epoch)

    def remember_only(self, epochs: Collection[str]) -> None:
        """Forget the secrets of all other epochs."""
        self._epochs.remember_only(epochs)

    def make(self, algorithm: KeyAlgorithm, epoch: str, key_id: str) -> tuple[bytes, bytes]:
        """Return a new key pair, sealed, and its SubjectPublicKeyInfo."""
        key = generate(algorithm)
        public_key = public_key_der(key.public_key())
        return seal(key, self._epochs.sealing(epoch), place_of(key_id, public_key)), public_key

    def open(self, key: SealedKey) -> PrivateKey:
        """Return the private key; raises `KeyUnavailable`."""
        place = place_of(key.id, key.public_key)
        return load(self._epochs.sealing(key.epoch).unseal(key.sealed, place), place)

    def discard(self, key: SealedKey) -> None:
        """Do nothing: the sealed text is all there is of it."""
