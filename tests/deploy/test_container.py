"""The container image's definition and the compose file: linted, and made from what the tests run with."""

import sys
from pathlib import Path

from commands import BIN, run
from fronts import DEPLOY

TOOLS = BIN / "../tools/bin"


def test_the_image_s_definition_is_linted(tmp_path: Path) -> None:
    definition = DEPLOY / "container/Containerfile"
    run(TOOLS / "hadolint", definition)
    wrong = tmp_path / "Containerfile"
    wrong.write_text(definition.read_text().replace("debian:bookworm-slim", "debian:latest"))
    assert b"DL3007" in run(TOOLS / "hadolint", wrong, check=False).stdout


def test_the_compose_file_is_of_its_schema(tmp_path: Path) -> None:
    judge = (TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    run(*judge, DEPLOY / "compose.yaml")
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((DEPLOY / "compose.yaml").read_text().replace("read_only:", "read_onyl:"))
    assert run(*judge, wrong, check=False).returncode


def test_the_image_has_what_is_locked_and_nothing_else() -> None:
    made = run(sys.executable, DEPLOY.parent / "scripts/runtime-lock").stdout.decode()
    # Another requirements.lock needs `.venv/bin/python scripts/runtime-lock > deploy/container/requirements.lock`.
    assert made == (DEPLOY / "container/requirements.lock").read_text()
    assert (DEPLOY.parent / ".dockerignore").read_text() == (DEPLOY.parent / ".containerignore").read_text()
    assert "cryptography==" in made
    assert "pytest==" not in made
