"""One process has the office, and another as soon as it ends, is killed or hangs."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from intaglio.database.engine import open_engine
from intaglio.database.tenure import Tenure
from postgres import Server

RUNS = """
import sys, time
from intaglio.database import tenure
from intaglio.database.engine import open_engine
tenure._SILENT_MS = 2000
office = tenure.Tenure(open_engine(sys.argv[1]), "housekeeping")
office.start()
print(office.held, flush=True)
sys.stdin.read()
office.stop()
"""


@contextmanager
def rival(url: str) -> Iterator[subprocess.Popen[str]]:
    """Run another process for the office."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", RUNS, url], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("store").new_database())
    open_engine(f"sqlite:///{tmp_path / 'a.db'}", new=True).connect().close()
    return f"sqlite:///{tmp_path / 'a.db'}"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, None])
def test_the_office_is_had_by_one_and_falls_to_another_when_that_one_ends(url: str, how: signal.Signals | None) -> None:
    with rival(url) as process:
        assert said(process) == "True"
        office = Tenure(open_engine(url), "housekeeping")
        office.start()
        other = Tenure(open_engine(url), "another office")
        other.start()
        try:
            assert not office.held
            assert other.held
            time.sleep(1.5)  # as long as the holder lives
            assert not office.held
            if how is None:
                assert process.stdin is not None
                process.stdin.close()
            else:
                process.send_signal(how)
            until = time.monotonic() + 10
            while not office.held and time.monotonic() < until:
                time.sleep(0.05)
            assert office.held
        finally:
            office.stop()
            other.stop()
        assert not office.held


def test_who_hangs_is_put_out_by_the_server(store: Server) -> None:
    url = store.new_database()
    with rival(url) as process:
        assert said(process) == "True"
        office = Tenure(open_engine(url), "housekeeping")
        office.start()
        try:
            assert not office.held
            process.send_signal(signal.SIGSTOP)
            until = time.monotonic() + 20
            while not office.held and time.monotonic() < until:
                time.sleep(0.05)
            assert office.held
        finally:
            office.stop()


def test_a_holder_that_is_cut_off_knows_and_comes_back() -> None:
    store = Server()
    try:
        office = Tenure(open_engine(store.new_database()), "housekeeping")
        office.start()
        assert office.held
        store.kill()
        until = time.monotonic() + 10
        while office.held and time.monotonic() < until:
            time.sleep(0.05)
        assert not office.held
        store.restart()
        until = time.monotonic() + 10
        while not office.held and time.monotonic() < until:
            time.sleep(0.05)
        assert office.held
        office.stop()
    finally:
        store.end()
