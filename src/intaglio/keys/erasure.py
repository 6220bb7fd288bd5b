"""Erasing a file: overwritten, removed, and both durable."""

import os
from pathlib import Path


def erase(path: Path) -> None:
    """Overwrite and remove `path`; being gone already is no error. Raises `OSError`.

    What the file system or the disk keeps elsewhere is out of reach: docs/secure/keys.md says so.
    """
    try:
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make durable which files there are in `folder`; raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
