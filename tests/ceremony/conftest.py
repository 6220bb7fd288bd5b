"""Fixtures: three officers, and the transcript of a 2-of-3 root ceremony run by the command line."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from custodians import NAMES, Custodian, ceremony, make_officer, options, root_script


@pytest.fixture(scope="session")
def officers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Custodian]:
    folder = tmp_path_factory.mktemp("officers")
    return {name: make_officer(folder, name) for name in NAMES}


@dataclass(frozen=True)
class Held:
    """A ceremony that was held."""

    folder: Path
    script: Path
    transcript: Path
    home: Path


@pytest.fixture(scope="session")
def held(officers: dict[str, Custodian], tmp_path_factory: pytest.TempPathFactory) -> Held:
    """A root ceremony with three officers of whom two confirm each step: bob is there for the whole, and the end."""
    folder = tmp_path_factory.mktemp("held")
    found = Held(folder, folder / "root.toml", folder / "root.jsonl", folder / "home")
    found.script.write_text(root_script(list(officers.values())))
    ceremony("run", found.script, "--transcript", found.transcript, "--home", found.home,
             *options([officers["alice"], officers["carol"]]))  # fmt: skip
    return found
