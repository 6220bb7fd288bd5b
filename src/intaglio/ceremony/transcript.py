"""The transcript of a ceremony: JSON lines, each chained by its hash to the one before, each durable before the next.

A line is `{"body":…,"hash":"…"}` with hash = SHA-256(hash before ‖ body), as in the ledger. There is one way only to
write an entry (sorted fields, no blanks), so that no octet of a transcript can be another and mean the same.
"""

import fcntl
import hmac
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from intaglio.ceremony.entry import Entry, Signed
from intaglio.ceremony.filing import sync_folder
from intaglio.errors import Conflict, Malformed
from intaglio.ledger.entry import GENESIS, entry_hash
from intaglio.pki.text import visible

MOST_OCTETS = 64 << 20

_encoder = msgspec.json.Encoder(order="sorted")
_BEGINNING = b'{"body":'
_PURPOSE = "intaglio ceremony officer"


class Link(msgspec.Struct, frozen=True):
    """An entry in its place: `previous` and `hash` are the hashes of the chain before and with it."""

    entry: Entry
    previous: bytes
    hash: bytes


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: msgspec.Raw
    hash: str


def body(entry: Entry) -> bytes:
    """Return the octets of an entry that are hashed."""
    return _encoder.encode(entry)


def statement(script_sha256: str, previous: bytes, entry: Signed) -> bytes:
    """Return what an officer signs: the script's hash, the transcript's head so far, and the whole entry."""
    unsigned = msgspec.structs.replace(entry, signature=b"")
    return _encoder.encode({"purpose": _PURPOSE, "script": script_sha256, "head": previous.hex(), "entry": unsigned})


def _line(content: bytes, digest: bytes) -> bytes:
    return _BEGINNING + content + b',"hash":"' + digest.hex().encode() + b'"}\n'


def read(raw: bytes) -> list[Link]:
    """Return the entries of a transcript; raises `Conflict` naming the first line that does not hold."""
    if len(raw) > MOST_OCTETS:
        raise Malformed("The transcript is too long.", {"transcript": f"more than {MOST_OCTETS} octets"})
    if not raw:
        raise wrong(1, "the transcript is empty")
    if not raw.endswith(b"\n"):
        raise wrong(raw.count(b"\n") + 1, "it is not whole: the transcript was cut off or is still being written")
    found: list[Link] = []
    previous = GENESIS
    for sequence, line in enumerate(raw[:-1].split(b"\n"), start=1):
        link = _link(sequence, line + b"\n", previous)
        found.append(link)
        previous = link.hash
    return found


def _link(sequence: int, line: bytes, previous: bytes) -> Link:
    try:
        written = msgspec.json.decode(line, type=_Line)
        content = bytes(written.body)
        entry = msgspec.json.decode(content, type=Entry)
        again = _line(body(entry), bytes.fromhex(written.hash))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise wrong(sequence, f"it is not an entry of a transcript ({error})") from error
    if again != line:
        raise wrong(sequence, "it is not written as a transcript writes it: it was changed")
    if entry.sequence != sequence:
        raise wrong(sequence, f"it says that it is entry {entry.sequence}: entries are missing or in another order")
    digest = entry_hash(previous, content)
    if not hmac.compare_digest(digest.hex(), written.hash):
        raise wrong(sequence, "its hash is not that of its content and the entry before: one of them was changed")
    return Link(entry, previous, digest)


def wrong(sequence: int, reason: str) -> Conflict:
    """Return the refusal of a transcript, naming the first entry that does not hold."""
    # The reason may repeat what the transcript says: it is somebody else's, and shown at a terminal.
    reason = visible(reason)
    return Conflict(f"The transcript does not hold at entry {sequence}: {reason}.", {f"entry {sequence}": reason})


class Transcript:
    """A transcript that is being written by this process alone."""

    def __init__(self, path: Path, descriptor: int, links: Sequence[Link], discarded: int) -> None:
        """Take an open, locked file and what is in it; see `begin` and `resume`."""
        self.path = path
        self.links = list(links)
        self.discarded = discarded
        self._descriptor = descriptor

    @classmethod
    def begin(cls, path: Path) -> Self:
        """Make an empty transcript; raises `Conflict` if there is anything at `path`."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Conflict(f"{path} cannot be made.", {"transcript": str(error.strerror)}) from error
        _lock(path, descriptor)
        sync_folder(path.absolute().parent)
        return cls(path, descriptor, [], 0)

    @classmethod
    def resume(cls, path: Path) -> Self:
        """Open a transcript to go on with; what a crash left of an entry that never was whole is cut off.

        Raises `Conflict` when another process writes it, or naming the first entry that does not hold.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise Conflict(f"{path} cannot be opened.", {"transcript": str(error.strerror)}) from error
        try:
            _lock(path, descriptor)
            with os.fdopen(os.dup(descriptor), "rb") as file:
                raw = file.read(MOST_OCTETS + 1)
            whole = raw.rfind(b"\n") + 1
            links = read(raw[:whole]) if whole else []
            _check_beginning(raw[whole:], len(links) + 1)
            if whole != len(raw):
                os.ftruncate(descriptor, whole)
                os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, links, len(raw) - whole)

    @property
    def head(self) -> bytes:
        """The hash of the newest entry."""
        return self.links[-1].hash if self.links else GENESIS

    @property
    def following(self) -> int:
        """The sequence number of the next entry."""
        return len(self.links) + 1

    def link(self, entry: Entry) -> Link:
        """Return an entry in its place behind the head, not yet written."""
        return Link(entry, self.head, entry_hash(self.head, body(entry)))

    def append(self, link: Link) -> None:
        """Write what `link` made; it is on disk when this returns."""
        line = _line(body(link.entry), link.hash)
        before = os.fstat(self._descriptor).st_size
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
            os.fsync(self._descriptor)
        except OSError:
            # What comes next must not stand behind half an entry.
            os.ftruncate(self._descriptor, before)
            raise
        self.links.append(link)

    def discard_if_empty(self) -> None:
        """Remove a file that nothing was written to: the ceremony did not begin."""
        if not self.links and os.fstat(self._descriptor).st_size == 0:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def _check_beginning(rest: bytes, sequence: int) -> None:
    if not _BEGINNING.startswith(rest[: len(_BEGINNING)]):
        raise wrong(sequence, "what stands there is not the beginning of an entry; the file was not changed")


def _lock(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Conflict(f"{path} is being written by another process.", {"transcript": "in use"}) from error
