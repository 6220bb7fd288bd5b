"""Processes beside the one that serves end with it, and what they do does not end it."""

import asyncio
import os
from pathlib import Path

import pytest

from intaglio.service import child

PROGRAM = "import os, sys, pathlib; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); {rest}"


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    (folder / "a_child.py").write_text(PROGRAM.format(rest=rest))
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_how_a_child_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path, monkeypatch, "sys.exit(7)")
    assert asyncio.run(child.run("a_child", str(tmp_path / "pid"))) == 7


# One that ends with its input, and one that does not.
@pytest.mark.parametrize("rest", ["sys.stdin.read()", "import time; time.sleep(60)"])
def test_a_child_ends_with_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    module(tmp_path, monkeypatch, rest)
    pid = tmp_path / "pid"

    async def work() -> None:
        await child.run("a_child", str(pid))

    async def walk() -> None:
        async with child.kept(work(), "child"):
            while not (pid.exists() and pid.read_text()):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.05)

    asyncio.run(walk())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
