"""The ports behind which private keys live.

A private key is always a pyca private key: builders of certificates, CRLs, OCSP responses and
time-stamps never learn where it is kept.
"""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey
from intaglio.keys.attestation import Attestation


class Custody(Protocol):
    """Where the service's own long-lived keys are made, and how they rest."""

    def generate(self, algorithm: KeyAlgorithm, name: str) -> PrivateKey:
        """Return a new private key, known as `name` where keys have names; releases the interpreter meanwhile."""
        ...

    def seal(self, key: PrivateKey, context: str) -> bytes:
        """Return `key` in a form that only this custody can open, and only for `context`."""
        ...

    def unseal(self, sealed: bytes, context: str) -> PrivateKey:
        """Return the key sealed for `context`; raises `KeyUnavailable`."""
        ...

    def destroy(self, sealed: bytes, context: str) -> None:
        """Destroy the key sealed for `context` where it has an existence of its own; done before is no error."""
        ...

    def attest(self, sealed: bytes, context: str) -> Attestation:
        """Return what is known of how the key sealed for `context` is kept; raises `KeyUnavailable`."""
        ...


class Form(StrEnum):
    """How the keys of identities are held."""

    SOFTWARE = "software"
    WRAPPED = "wrapped"
    RESIDENT = "resident"


class SealedKey(msgspec.Struct, frozen=True):
    """An identity's key pair at rest.

    `public_key` is a SubjectPublicKeyInfo, DER. `not_after` is until when the key may exist: at first the age at which
    a key of the pool is given up, then the end of the certificate that was issued for it.
    """

    id: str
    algorithm: KeyAlgorithm
    form: Form
    epoch: str
    sealed: bytes
    public_key: bytes
    born_at: datetime
    not_after: datetime


class IdentityCustody(Protocol):
    """Where identities' keys are made, opened for use and destroyed.

    Each is sealed under the sealing key of an epoch: when that is destroyed, no copy of the sealed text opens again.
    """

    form: Form

    def begin_epoch(self, epoch: str) -> None:
        """Make the sealing key of a new epoch."""
        ...

    def end_epoch(self, epoch: str) -> None:
        """Destroy the sealing key of an epoch for good; does nothing when it is gone already."""
        ...

    def remember_only(self, epochs: Collection[str]) -> None:
        """Drop from this process's memory what belongs to any other epoch."""
        ...

    def make(self, algorithm: KeyAlgorithm, epoch: str, key_id: str) -> tuple[bytes, bytes]:
        """Return a new key pair: sealed for `key_id` under `epoch`, and its SubjectPublicKeyInfo, DER."""
        ...

    def open(self, key: SealedKey) -> PrivateKey:
        """Return the private key, ready to sign; raises `KeyUnavailable` when its epoch is over."""
        ...

    def discard(self, key: SealedKey) -> None:
        """Destroy one key where it has an existence of its own; the end of its epoch destroys it anyway."""
        ...


def place_of(key_id: str, public_key: bytes) -> str:
    """Return what a sealed identity key is bound to: its id and its public key.

    A sealed text put into another row, or beside another public key, does not open.
    """
    return f"identity key {key_id} {public_key.hex()}"
