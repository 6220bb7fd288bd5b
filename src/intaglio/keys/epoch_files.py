"""The secrets of epochs in software: one sealed file each, in a folder that is not to be backed up.

Whoever keeps a copy of the file and the master key keeps the epoch; a copy of the database alone, however old, is
worthless once the file is gone. The folder may lie on a memory file system: what is lost with it are keys that
live for ten minutes.
"""

import os
import secrets
from collections.abc import Collection
from pathlib import Path

from intaglio.errors import KeyUnavailable
from intaglio.keys.erasure import erase, sync_folder
from intaglio.keys.sealing import SealingKey


class EpochFiles:
    """The sealing keys of living epochs, each derived from a secret of its own."""

    def __init__(self, folder: Path, master: SealingKey) -> None:
        self._folder = folder
        self._master = master
        self._known: dict[str, SealingKey] = {}

    def begin(self, epoch: str) -> None:
        """Make the secret of `epoch`, durably; raises `KeyUnavailable` when it cannot be written."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path(epoch), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._master.seal(secrets.token_bytes(32), epoch))
                file.flush()
                os.fsync(file.fileno())
            sync_folder(self._folder)
        except OSError as error:
            raise KeyUnavailable(f"the sealing key of a new epoch cannot be written: {error}") from error

    def end(self, epoch: str) -> None:
        """Overwrite and remove the secret of `epoch`, durably; raises `KeyUnavailable` when it cannot be removed."""
        self._known.pop(epoch, None)
        try:
            erase(self._path(epoch))
        except OSError as error:
            raise KeyUnavailable(f"the sealing key of the epoch {epoch} cannot be destroyed: {error}") from error

    def remember_only(self, epochs: Collection[str]) -> None:
        """Forget the sealing keys of all other epochs."""
        for epoch in [known for known in self._known if known not in epochs]:
            self._known.pop(epoch, None)

    def sealing(self, epoch: str) -> SealingKey:
        """Return the sealing key of `epoch`; raises `KeyUnavailable` when there is none (any more)."""
        known = self._known.get(epoch)
        if known is None:
            try:
                sealed = self._path(epoch).read_bytes()
            except OSError as error:
                raise KeyUnavailable(f"the epoch {epoch} has no sealing key here: it is over") from error
            known = self._known[epoch] = SealingKey(self._master.unseal(sealed, epoch), "identity keys")
        return known

    def _path(self, epoch: str) -> Path:
        return secret_path(self._folder, epoch)


def secret_path(folder: Path, epoch: str) -> Path:
    """Return where the secret of an epoch lies."""
    return folder / f"{epoch}.sealed"
