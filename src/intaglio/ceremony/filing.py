"""The files that a ceremony reads and writes, in one folder."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from intaglio.errors import Conflict, Malformed

MOST_OCTETS = 8 << 20


def read(folder: Path, path: str, most: int = MOST_OCTETS) -> bytes:
    """Return a file; raises `Malformed` when it cannot be read or is too long."""
    place = folder / path
    try:
        with place.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise Malformed(f"{place} cannot be read.", {path: str(error.strerror)}) from error
    if len(content) > most:
        raise Malformed(f"{place} is too long.", {path: f"must have at most {most} octets"})
    return content


def check_free(folder: Path, paths: Iterable[str]) -> None:
    """Raise `Conflict` when there is anything in the place of a file to be written."""
    taken = {path: "exists" for path in paths if os.path.lexists(folder / path)}
    if taken:
        raise Conflict(f"There are files in {folder} already that are to be written: none is written over.", taken)


def write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files durably, by path, never over others; what a crash left of one of them is completed."""
    for path, content in contents.items():
        place = folder / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists() and not content.startswith(place.read_bytes()):
                raise Conflict(f"{place} exists: it is not written over.", {path: "exists"})
            # A link is not followed: it may lead out of the folder.
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(place, flags, 0o644), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(place.parent)
        except OSError as error:
            raise Conflict(
                f"{place} cannot be written. What it is to hold is in the transcript: run it again to write it.",
                {path: str(error.strerror)},
            ) from error


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
