"""A real chronyd, which steers nothing (-x), and what it says of the clock."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intaglio.clock import chrony
from intaglio.clock.agreement import Verdict
from time_servers import TimeServer, time_servers

CHRONYD = shutil.which("chronyd") or "/usr/sbin/chronyd"
PATIENCE_SECONDS = 60


@pytest.fixture
def server() -> Iterator[TimeServer]:
    with time_servers(1) as made:
        yield made[0]


@pytest.fixture
def daemon(server: TimeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return where a daemon of the test's own takes commands: it asks the one server, and nobody asks it."""
    folder = tmp_path_factory.mktemp("c")
    folder.chmod(0o770)
    socket, port = folder / "s", server.name.split(":")[1]
    configuration = folder / "conf"
    configuration.write_text(
        f"server 127.0.0.1 port {port} iburst minpoll 0 maxpoll 0\n"
        f"bindcmdaddress {socket}\ncmdport 0\nport 0\npidfile {folder / 'pid'}\n"
    )
    process = subprocess.Popen(
        [CHRONYD, "-x", "-d", "-U", "-u", folder.owner(), "-f", configuration],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield str(socket)
    process.terminate()
    assert process.wait(30) is not None


def soon(address: str, right: Callable[[Verdict], bool]) -> Verdict:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not right(found := chrony.look(address)):
        assert time.monotonic() < ends, found
        time.sleep(0.1)
    return found


def test_the_offset_is_within_what_chrony_says(server: TimeServer, daemon: str) -> None:
    server.offset, server.dispersion, server.leap = 5.0, 0.25, 3
    found = soon(daemon, lambda one: not one.unheard)
    assert (found.why, found.low) == ("chrony is not synchronised", float("-inf"))
    server.leap = 0
    found = soon(daemon, lambda one: not one.why)
    # True time is ahead of a clock that is slow. The server's own doubt is part of it.
    assert found.low <= 5.0 <= found.high
    assert 0.5 < found.high - found.low < 4.0


def test_a_daemon_that_is_not_there_has_said_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = chrony.look(str(tmp_path / "nowhere"))
    assert (found.unheard, found.why) == (True, "chrony does not answer")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chrony.look(None).why.startswith("chronyc cannot be asked")


@pytest.mark.parametrize("line", ["", "506 Cannot talk to daemon", "a,b,c", ",".join("x" * 14)])
def test_what_cannot_be_read_is_no_verdict(line: str) -> None:
    assert chrony.read(line, 0, 0).unheard
