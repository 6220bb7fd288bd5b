"""Heads in files: whole lines or an error, and the newest without reading all of a day's."""

import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from intaglio.errors import Malformed
from intaglio.ledger.outside import append, kept, newest


def line(**told: str) -> bytes:
    return msgspec.json.encode(told) + b"\n"


@contextmanager
def files_of(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_that_does_not_fit_on_the_disk_is_not_taken_for_kept(tmp_path: Path) -> None:
    head = line(head="x" * 100)
    append(tmp_path, "day", head)
    with files_of(len(head) + 20), pytest.raises(OSError, match="too large"):
        append(tmp_path, "day", head)
    assert (tmp_path / "day.jsonl").read_bytes() == head + head[:20]


def test_the_newest_is_read_from_the_end(tmp_path: Path) -> None:
    with (tmp_path / "2026-11-25.jsonl").open("wb") as file:
        file.writelines(line(head=f"{number}") for number in range(300_000))
        file.write(line(stamp="x") + b'{"head":"cut o')
    (tmp_path / "2026-11-24.jsonl").write_bytes(line(head="older"))
    tracemalloc.start()
    found = newest(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None
    assert (found.note, found.place) == ("299999", "2026-11-25.jsonl, line 3 from its end")
    assert peak < 1_000_000, f"{peak} bytes were held"


def test_files_without_a_head_hold_nothing_against_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(line(stamp="x") + b"{}\n")
    with pytest.raises(Malformed, match="has no heads in it"):
        list(kept(tmp_path))
    # The control.
    (tmp_path / "b.jsonl").write_bytes(line(head="x"))
    assert [one.note for one in kept(tmp_path)] == ["x"]


def test_what_is_written_after_the_look_began_is_not_held_against_the_ledger(tmp_path: Path) -> None:
    append(tmp_path, "2026-11-25", line(head="first"))
    found = kept(tmp_path)
    append(tmp_path, "2026-11-25", line(head="second"))
    append(tmp_path, "2026-11-26", line(head="third"))
    assert [one.note for one in found] == ["first"]
    assert [one.note for one in kept(tmp_path)] == ["first", "second", "third"]
    with pytest.raises(Malformed):
        kept(tmp_path / "nothing")
