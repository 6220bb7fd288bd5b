"""The port behind which private keys live.

A private key is always a pyca private key: builders of certificates, CRLs, OCSP responses and
time-stamps never learn where it is kept.
"""

from typing import Protocol

from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey


class Custody(Protocol):
    """Where private keys are made, and how they rest."""

    def generate(self, algorithm: KeyAlgorithm) -> PrivateKey:
        """Return a new private key; may take tens of milliseconds and releases the interpreter meanwhile."""
        ...

    def seal(self, key: PrivateKey, context: str) -> bytes:
        """Return `key` in a form that only this custody can open, and only for `context`."""
        ...

    def unseal(self, sealed: bytes, context: str) -> PrivateKey:
        """Return the key sealed for `context`; raises `KeyUnavailable`."""
        ...
