"""The hierarchy of a home, at rest in `pki/hierarchy.json`; a home without the file has the one of the beginning."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from intaglio.errors import Conflict, ContentRefused, KeyUnavailable
from intaglio.pki.hierarchy import ROSTER, Roster

FILE_NAME = "pki/hierarchy.json"


def read(home: Path) -> Roster:
    """Return the hierarchy of `home`; raises `ContentRefused` naming what in the file cannot be used."""
    path = home / FILE_NAME
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Roster)
        found.check()
    except FileNotFoundError:
        return ROSTER
    except OSError as error:
        raise KeyUnavailable(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ContentRefused(f"{path}: {error}", {"hierarchy": str(error)}) from error
    except ContentRefused as error:
        raise ContentRefused(f"{path}: {error}", error.fields) from error
    return found


def write(home: Path, roster: Roster) -> None:
    """Put `roster` in the place of what is there: all of it, or nothing, and durably."""
    roster.check()
    replace(home / FILE_NAME, msgspec.json.format(msgspec.json.encode(roster), indent=2) + b"\n")


@contextmanager
def changing(home: Path) -> Iterator[Roster]:
    """Yield the hierarchy to change it; raises `Conflict` while another process does.

    The lock ends with the process that holds it, however it ends.
    """
    place = (home / FILE_NAME).with_suffix(".lock")
    with locked(place, "Another command is changing the hierarchy: try again when it has ended."):
        yield read(home)


@contextmanager
def locked(place: Path, taken: str) -> Iterator[None]:
    """Hold the lock of the file `place`, made if missing; raises `Conflict`, saying `taken`, while another does."""
    place.parent.mkdir(mode=0o755, exist_ok=True)
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(taken, {place.stem: "in use"}) from error
        yield
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Write a file whole and durably in the place of what was there."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
