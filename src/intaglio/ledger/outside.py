"""Signed heads in files, a file for each day: what is kept outside of the database, and read back for verification.

A line is a JSON object: `at`, `size` and `head`, which is the signed note, or `stamp`, a time-stamp on it in base64.
"""

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from intaglio.errors import Malformed
from intaglio.ledger.examination import Outside
from intaglio.ledger.stamps import Stamp
from intaglio.ledger.tree import Signed

# Some hundred lines.
_TAIL_BYTES = 64 * 1024

_log = logging.getLogger("intaglio.ledger")


class _Line(msgspec.Struct, frozen=True):
    head: str | None = None


def line_of(one: Signed | Stamp) -> bytes:
    """Return the line that a head, or a stamp on one, is kept as."""
    told = {"head": one.note} if isinstance(one, Signed) else {"authority": one.authority, "stamp": one.token}
    return msgspec.json.encode({"at": one.at, "size": one.size, **told}) + b"\n"


async def keep(folder: Path, one: Signed | Stamp) -> None:
    """Append a head, or a stamp, to the file of its day, durably; that it cannot be is logged."""
    try:
        await asyncio.to_thread(append, folder, f"{one.at:%Y-%m-%d}", line_of(one))
    except OSError as error:
        _log.error("the head of size %s, or a stamp on it, is not kept outside: %s", one.size, error)


def append(folder: Path, day: str, line: bytes) -> None:
    """Append a line to the file of a day, durably; raises `OSError`."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = folder / f"{day}.jsonl"
    fresh = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        # In one go: other processes may append, too. Where the disk is full, a part may be taken, and the next refused.
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if fresh:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(held)
        finally:
            os.close(held)


def newest(folder: Path) -> Outside | None:
    """Return the newest head in a folder, None if there is none, or none that can be read."""
    for path in sorted(folder.glob("*.jsonl"), reverse=True)[:2]:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            # The first of them is cut where the file is longer; it cannot be read, then.
            lines = file.read(_TAIL_BYTES).splitlines()
        for number, line in enumerate(reversed(lines), 1):
            with suppress(msgspec.MsgspecError, UnicodeDecodeError):
                found = msgspec.json.decode(line, type=_Line)
                if found.head is not None:
                    return Outside(f"{path.name}, line {number} from its end", found.head)
    return None


def kept(path: Path) -> Iterator[Outside]:
    """Return the heads in a file, or in all files of a folder, as far as they were written when this was called.

    A service at work goes on appending: what it signs afterwards is of more entries than a look at the ledger that was
    begun meanwhile can see. Raises `Malformed`, by and by, for a line that is none, or if there is no head. A file may
    also be one head as it was published, and nothing else.
    """
    if not path.exists():
        raise Malformed(f"{path} cannot be read.", {"heads": "there is no such file or folder"})
    paths = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not paths:
        raise Malformed(f"{path} has no heads in it.", {"heads": "no file *.jsonl is there"})
    return _read(path, [(one, one.stat().st_size) for one in paths])


def _read(path: Path, written: list[tuple[Path, int]]) -> Iterator[Outside]:
    count = 0
    for one, size in written:
        with one.open("rb") as lines:
            if lines.peek(1)[:1] != b"{":
                count += 1
                yield Outside(one.name, lines.read(_TAIL_BYTES).decode(errors="replace"))
                continue
            number = 0
            while lines.tell() < size:
                number += 1
                place = f"{one.name}:{number}"
                try:
                    found = msgspec.json.decode(lines.readline(), type=_Line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise Malformed(f"{place} cannot be read.", {place: str(error)}) from error
                if found.head is not None:
                    count += 1
                    yield Outside(place, found.head)
    if not count:
        # By none at all, everything would hold.
        raise Malformed(f"{path} has no heads in it.", {"heads": "no line has a head"})
