"""The documented rehearsal is run to the letter, and the documented fields are those that there are."""

import os
import re
import subprocess
from pathlib import Path
from typing import get_args

from intaglio.ceremony import entry, steps
from served import BIN

DOCUMENT = (Path(__file__).parents[2] / "docs/operate/ceremonies.md").read_text()


def test_the_rehearsal_goes_as_it_is_written(tmp_path: Path) -> None:
    section = DOCUMENT.split("## A rehearsal\n")[1].split("\n## ")[0]
    commands = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=tmp_path, env=environment, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"The transcript holds" in done.stdout
    assert b"The transcript does not hold at entry 3" in done.stderr
    assert "KEY CEREMONY: Root of Example Ltd" in (tmp_path / "checklist.txt").read_text()


def test_every_action_and_its_fields_are_documented() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", DOCUMENT, re.MULTILINE))
    for kind in get_args(steps.Step):
        documented = set(re.findall(r"`([a-z_]+)`", rows[kind.__struct_config__.tag]))
        fields = set(kind.__struct_fields__) - {"id", "note", "confirm"}
        assert fields <= documented, kind


def test_every_kind_of_entry_is_documented() -> None:
    for kind in get_args(entry.Entry):
        assert f"| `{kind.__struct_config__.tag}` |" in DOCUMENT


def test_what_may_go_without_a_quorum_is_documented() -> None:
    light = [kind.__struct_config__.tag for kind in get_args(steps.Step) if kind.light]
    wanted = f"It is allowed for {', '.join(f'`{one}`' for one in light[:-1])} and `{light[-1]}` only."
    assert wanted in " ".join(DOCUMENT.split())
