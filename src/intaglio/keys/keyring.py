"""The service's own long-lived secrets, each sealed in a file of its own (0600) under `HOME/keys`."""

import os
from pathlib import Path

from intaglio.errors import Conflict, KeyUnavailable
from intaglio.keys.algorithm import PrivateKey
from intaglio.keys.attestation import Attestation
from intaglio.keys.custody import Custody
from intaglio.keys.erasure import erase
from intaglio.keys.sealing import SealingKey


class Keyring:
    """Named private keys and secrets of the service itself, at rest in `folder`."""

    def __init__(self, folder: Path, custody: Custody, sealing: SealingKey) -> None:
        self._folder = folder
        self._custody = custody
        self._sealing = sealing

    def store_key(self, name: str, key: PrivateKey) -> None:
        """Seal `key` as `name`; raises `Conflict` if there is one already."""
        self._write(name, self._custody.seal(key, name))

    def key(self, name: str) -> PrivateKey:
        """Return the private key `name`; raises `KeyUnavailable`."""
        return self._custody.unseal(self._read(name), name)

    def attest(self, name: str) -> Attestation:
        """Return what is known of how the key `name` is kept; raises `KeyUnavailable`."""
        return self._custody.attest(self._read(name), name)

    def destroy_key(self, name: str) -> None:
        """Destroy the private key `name` for good, where it is first; raises `KeyUnavailable` if there is none."""
        self._custody.destroy(self._read(name), name)
        try:
            erase(self._folder / f"{name}.sealed")
        except OSError as error:
            raise KeyUnavailable(f"the key {name} cannot be destroyed: {error.strerror}") from error

    def store_secret(self, name: str, secret: bytes) -> None:
        """Seal `secret` as `name`; raises `Conflict` if there is one already."""
        self._write(name, self._sealing.seal(secret, name))

    def secret(self, name: str) -> bytes:
        """Return the secret `name`; raises `KeyUnavailable`."""
        return self._sealing.unseal(self._read(name), name)

    def _write(self, name: str, sealed: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{name}.sealed"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise Conflict(f"{path} exists: a key is never overwritten", {name: "exists"}) from error
        with os.fdopen(descriptor, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / f"{name}.sealed").read_bytes()
        except OSError as error:
            raise KeyUnavailable(f"the key {name} cannot be read: {error.strerror}") from error
