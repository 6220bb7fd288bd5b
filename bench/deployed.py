"""A service of its own to measure: made in a temporary folder, served by `intaglio serve`, gone afterwards."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

BIN = Path(sys.executable).parent
_QUOTA = "10000000"
_START_SECONDS = 30.0
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Served:
    """A running service, and the credentials of the account that measures it."""

    pid: int
    home: Path
    api_port: int
    pki_port: int
    certificate: Path
    key: Path
    secret: dict[str, str]

    @property
    def server_ca(self) -> Path:
        """The trust anchor of the API's TLS certificate."""
        return self.home / "tls/server-ca.crt"

    def cpu_seconds(self) -> float:
        """Return the CPU time so far of all that serve, user and system (proc(5): utime, stime; ended threads too)."""
        return sum(_ticks(Path(f"/proc/{pid}/stat")) for pid in (self.pid, *self.workers))

    @property
    def workers(self) -> list[int]:
        """The further processes that serve."""
        return [pid for pid in self.children if b"intaglio.cli.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    @property
    def children(self) -> list[int]:
        """The processes that the service started: what fills the key pool."""
        listed = [
            path.read_text(encoding="ascii").split() for path in Path(f"/proc/{self.pid}/task").glob("*/children")
        ]
        return [int(pid) for pids in listed for pid in pids]

    def all_cpu_seconds(self) -> float:
        """Return the CPU time so far of the service and the processes that it started."""
        return _ticks(Path(f"/proc/{self.pid}/stat")) + sum(_ticks(Path(f"/proc/{pid}/stat")) for pid in self.children)

    def thread_cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time so far of each living thread by `<name>:<id>`."""
        found: dict[str, float] = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            name = (task / "comm").read_text(encoding="ascii").strip()
            found[f"{name}:{task.name}"] = _ticks(task / "stat")
        return found

    def rss_bytes(self) -> int:
        """Return the memory that is resident now (proc(5): VmRSS)."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the server has no VmRSS: it is gone")


def _ticks(path: Path) -> float:
    # The command's name, in brackets, may hold blanks: count behind it.
    fields = path.read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _intaglio(home: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [str(BIN / "intaglio"), *arguments, "--home", str(home), "--json"],
        capture_output=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"intaglio {' '.join(arguments)}: {done.stderr.decode()}")
    return json.loads(done.stdout)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(other.getsockname()[1])


def _account(home: Path) -> str:
    """Return a new account with a quota that will not run out."""
    made = _intaglio(
        home,
        *("account", "create", "--name", "Bench", "--kind", "individual", "--test"),
        *("--quota-signatures", _QUOTA, "--quota-timestamps", _QUOTA),
    )
    return str(made["account_id"])


def _credential(home: Path, account: str, folder: Path) -> tuple[Path, Path, dict[str, str]]:
    """Return client certificate, key and API secret of an account."""
    folder.mkdir()
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key, csr = folder / "client.key", folder / "client.csr"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Bench")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(private, hashes.SHA256())
    csr.write_bytes(request.public_bytes(Encoding.PEM))
    _intaglio(home, "credential", "create", "--account", account, "--csr", str(csr), "--out", str(folder))
    secret: dict[str, str] = json.loads((folder / "credentials.json").read_bytes())
    return folder / "client.crt", key, secret


def _wait(process: subprocess.Popen[bytes], said: Path, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while not said.stat().st_size:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the service did not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)


def marks(low: int, high: int) -> str:
    """Return the settings that have the pool filled up to `high` RSA-2048 keys below `low`; they end its table."""
    return f"[pool.marks.rsa-2048]\nlow = {low}\nhigh = {high}"


@dataclass(frozen=True, slots=True)
class Other:
    """Another account, and what it authenticates with."""

    account: str
    credential: tuple[Path, Path, dict[str, str]]

    def at(self, service: Served) -> Served:
        """Return a service as this account sees it."""
        certificate, key, secret = self.credential
        return replace(service, certificate=certificate, key=key, secret=secret)


@dataclass(frozen=True)
class Place:
    """A home with an account that measures it; it can be served again and again, with other settings each time."""

    folder: Path
    ports: tuple[int, int]
    settings: str
    credential: tuple[Path, Path, dict[str, str]]

    @property
    def home(self) -> Path:
        """The home folder."""
        return self.folder / "home"

    def beside(self) -> "Place":
        """Return another node on the same database: a home like this one, which has addresses of its own."""
        folder, ports = self.folder / "beside", _free_ports()
        shutil.copytree(self.home, folder / "home")
        settings = self.settings.replace("[keys]", f"[keys]\nepoch_folder = '{self.home / 'keys/epochs'}'")
        for here, there in zip(self.ports, ports, strict=True):
            settings = settings.replace(f"port = {here}", f"port = {there}")
        return replace(self, folder=folder, ports=ports, settings=settings)

    def another(self) -> Other:
        """Return another account of this home."""
        account = _account(self.home)
        return Other(account, _credential(self.home, account, self.folder / "other"))

    def set(self, more: str) -> None:
        """Put `more` (TOML) behind the settings that `init` wrote."""
        (self.home / "intaglio.toml").write_text(f"{self.settings}\n{more}\n", encoding="utf-8")

    def fill(self, number: int, settings: str) -> None:
        """Have `number` RSA-2048 keys made, and none any more once it is served; `settings` as for `set`."""
        self.set(f"[pool]\nmakers = 2\n{marks(number, number)}\n{settings}")
        print(f"pool: making {number} keys")
        self.run("pool", "fill")
        self.set(f"[pool]\nmakers = 0\nwhen_empty = 'refuse'\n{marks(number, number)}\n{settings}")

    def run(self, *arguments: str) -> Any:
        """Run a command of `intaglio` and return its JSON."""
        return _intaglio(self.home, *arguments)

    @contextmanager
    def serving(
        self, *options: str, command: tuple[str, ...] = (str(BIN / "intaglio"),), kept: Path | None = None
    ) -> Iterator[Served]:
        """Yield the running service, `options` being those of `intaglio serve`; end it afterwards.

        `command` stands in for `intaglio` (a profiler puts itself before it); the log goes to `kept`, if given.
        """
        said, log = self.folder / "said.json", kept or self.folder / "server.log"
        with said.open("wb") as output, log.open("wb") as errors:
            process = subprocess.Popen(
                [*command, "serve", *options, "--home", str(self.home), "--json"], stdout=output, stderr=errors
            )
        try:
            _wait(process, said, log)
            certificate, key, secret = self.credential
            yield Served(process.pid, self.home, *self.ports, certificate, key, secret)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


# Whoever measures asks for more than any account may.
_RATES = "\n[rates]\n" + "".join(
    f"{what} = {{ per_second = 1000000, burst = 1000000 }}\n"
    for what in ("signatures", "timestamps", "identities", "logins")
)


@contextmanager
def place(*init: str) -> Iterator[Place]:
    """Yield a new home, made with these options of `intaglio init`; remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="intaglio-bench-"))
    try:
        home, ports = folder / "home", _free_ports()
        at = ("--api-port", str(ports[0]), "--pki-port", str(ports[1]))
        _intaglio(home, "init", *at, "--name", "Bench", *init)
        settings = (home / "intaglio.toml").read_text(encoding="utf-8") + _RATES
        yield Place(folder, ports, settings, _credential(home, _account(home), folder / "client"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
