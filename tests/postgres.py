"""A PostgreSQL server of the tests' own: a child of theirs on a socket in a folder, never as root."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psycopg

# Debian keeps the programs of each version in a folder of its own, the newest last.
_BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=Path("/usr/bin"))
_USER = "postgres" if os.getuid() == 0 else None


class Server:
    """A server that runs until it is ended; every database in it is new."""

    def __init__(self, *settings: str) -> None:
        """Start it with such settings, `name=value`."""
        self._settings = [part for one in settings for part in ("-c", one)]
        # A socket's path must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="intaglio-pg-", dir="/tmp"))
        if _USER is not None:
            shutil.chown(self.folder, _USER)
        self._data = self.folder / "data"
        options = ("--auth", "trust", "--encoding", "UTF8", "--no-locale", "--username", "postgres")
        self._run("initdb", "--pgdata", self._data, *options)
        self.process = self._start()

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run([_BIN / program, *arguments], user=_USER, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [_BIN / "postgres", "-D", self._data, "-k", self.folder, "-h", "", *self._settings],
                user=_USER,
                stdout=log,
                stderr=log,
            )
        for _ in range(200):
            assert process.poll() is None, (self.folder / "log").read_text()
            try:
                psycopg.connect(self._url("postgres")).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return process
        raise AssertionError((self.folder / "log").read_text())

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"t{secrets.token_hex(6)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def kill(self) -> None:
        """End it at once, as a crash would; what it had committed must be there afterwards."""
        # The children notice that the parent is gone, and the next start waits for them.
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def pause(self, number: int = signal.SIGSTOP) -> None:
        """Have it hang: it holds its connections and does nothing. With SIGCONT it goes on."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            # One of its children may just have ended.
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def restart(self) -> None:
        """Start it again after `kill`."""
        self.process = self._start()

    def end(self) -> None:
        """End it and remove what it kept."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)
