"""`intaglio clock check` says of the clock what the service would go by."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import BIN, run
from time_servers import TimeServer, time_servers

SETTINGS = """
name = "Test"
hosts = ["localhost"]
[public]
url = "http://localhost:8080"
"""


@pytest.fixture
def servers() -> Iterator[list[TimeServer]]:
    with time_servers(4) as made:
        yield made


def checked(home: Path, *options: str) -> tuple[int, Any]:
    done = run(BIN / "intaglio", "clock", "check", "--home", home, *options, check=False)
    return done.returncode, json.loads(done.stdout) if "--json" in options else (done.stdout + done.stderr).decode()


def test_the_clock_is_checked_without_the_service(servers: list[TimeServer], tmp_path: Path) -> None:
    names = ", ".join(f'"{one.name}"' for one in servers)
    (tmp_path / "intaglio.toml").write_text(f'{SETTINGS}[clock]\nsource = "ntp"\nservers = [{names}]\n')
    servers[0].offset = 3600.0
    code, found = checked(tmp_path, "--json")
    assert (code, found["trusted"], found["wrong"], found["silent"]) == (0, True, [servers[0].name], [])
    assert 0 < found["error_ms"] < found["accuracy_ms"] == 1000
    servers[0].offset, servers[1].silent = 0.0, True
    code, text = checked(tmp_path)
    assert (code, f"No answer from: {servers[1].name}" in text) == (0, True)
    for one in servers:
        one.offset = 30.0
    code, found = checked(tmp_path, "--json")
    assert (code, found["trusted"]) == (2, False)
    assert found["error_ms"] > 29_000
    assert "may be off by 30" in found["why"]


def test_without_a_source_there_is_nothing_to_ask(tmp_path: Path) -> None:
    (tmp_path / "intaglio.toml").write_text(SETTINGS)
    code, text = checked(tmp_path)
    assert code == 1
    assert "clock.source" in text
