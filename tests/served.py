"""A real service to test against: made by `intaglio init`, served by `intaglio serve`, called over mutual TLS."""

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from commands import BIN, run
from custody import init_options
from people import Staff, found

__all__ = [
    "ADMINISTRATION",
    "BIN",
    "JOHN_DOE",
    "Partner",
    "Served",
    "decoded",
    "free_port",
    "make_partner",
    "run",
    "small_service",
    "tls",
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    """A running service and how to speak to it."""

    home: Path
    api_port: int
    pki_port: int
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(default_factory=Path)
    # What runs the command that serves, if it is not run by itself.
    runner: tuple[str | Path, ...] = ()
    # What its processes have in their environment above this one's.
    environment: dict[str, str] = field(default_factory=dict)
    # Where its figures are, if it serves any.
    metrics_port: int | None = None
    # Who runs it, once anything of production was asked for.
    staff: Staff | None = None

    def staffed(self) -> Staff:
        """Return the people who run it, found now if they were not; an operator then types the commands."""
        if self.staff is None:
            self.staff = found(self.home, self.home.parent / f"{self.home.name}-staff", self.environment)
            path, secret = self.staff.be("otto")[1::2]
            self.environment |= {"INTAGLIO_AS": path, "INTAGLIO_AS_SECRET": secret}
        return self.staff

    @property
    def public(self) -> str:
        return f"http://127.0.0.1:{self.pki_port}"

    @property
    def url(self) -> str:
        return f"https://localhost:{self.api_port}/v2"

    def intaglio(self, *arguments: str | Path) -> Any:
        """Run a command of `intaglio` and return its JSON; what waits for a second person gets one."""
        done = run(BIN / "intaglio", *arguments, "--home", self.home, "--json", environment=self.environment)
        found = json.loads(done.stdout)
        if isinstance(found, dict) and found.keys() == {"approval", "act", "expires_at"}:
            decides = "bob" if found["act"].startswith("authority.") else "vera"
            return self.staffed().agree(found, decides)
        return found

    def measured(self) -> list[Sample]:
        """Return what a scrape finds now."""
        answer = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=20)
        assert answer.status_code == 200, answer.text
        return [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]

    def start(self, *options: str) -> None:
        self.log = self.home.parent / f"{self.home.name}.log"
        out = self.home.parent / f"{self.home.name}.out"
        with self.log.open("ab") as errors, out.open("wb") as output:
            self.process = subprocess.Popen(
                [*self.runner, BIN / "intaglio", "serve", *options, "--home", self.home, "--json"],
                stdout=output,
                stderr=errors,
                env={**os.environ, **self.environment},
            )
        for _ in range(600):
            if out.stat().st_size:
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process = None
        return code


def small_service(home: Path, settings: str = "") -> Served:
    """Make a service whose authorities have EC keys, which cost little, with `settings` behind what `init` wrote."""
    made = Served(home, free_port(), free_port())
    ports = ("--api-port", str(made.api_port), "--pki-port", str(made.pki_port), "--algorithm", "p-256")
    made.intaglio("init", *ports, *init_options())
    with (home / "intaglio.toml").open("a") as file:
        file.write(f"\n{settings}\n")
    return made


@dataclass
class Partner:
    """An account with a credential by CSR, and an HTTP client that authenticates as it."""

    served: Served
    folder: Path
    account_id: str
    credential_id: str
    secret: dict[str, str]
    client: httpx.Client
    token: str = ""

    def login(self) -> str:
        answer = self.client.post("/login", json=self.secret)
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["access_token"]
        return self.token

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path, headers=self.authorization)

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.client.post(path, json=body, headers=self.authorization)


def tls(served: Served, folder: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=served.home / "tls/server-ca.crt")
    if folder is not None:
        context.load_cert_chain(folder / "client.crt", folder / "client.key")
    return context


def approved_mechanism(served: Served, account: str, *options: str | Path) -> str:
    """Return the id of a mechanism by which the account may have people certified."""
    evidence = Path(__file__)
    said = ("--type", "directory", "--provider", "Example Ltd", "--description", "The directory of its staff")
    applied = served.intaglio("mechanism", "apply", account, *said, "--evidence", evidence, *options)["mechanism_id"]
    assert served.intaglio("mechanism", "approve", applied)["state"] == "approved"
    return str(applied)


def make_partner(served: Served, folder: Path, *options: str, mechanism: tuple[str | Path, ...] = ()) -> Partner:
    if "--test" not in options:
        served.staffed()
    account = served.intaglio("account", "create", "--name", folder.name, *options)["account_id"]
    folder.mkdir()
    if not {"--test", "organization", "partner"}.intersection(options):
        approved_mechanism(served, account, *mechanism)
    key, csr = folder / "client.key", folder / "client.csr"
    run("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", csr, "-subj", "/CN=x")
    made = served.intaglio("credential", "create", "--account", account, "--csr", csr, "--out", folder)
    client = httpx.Client(base_url=served.url, verify=tls(served, folder), timeout=20)
    secret = json.loads((folder / "credentials.json").read_text())
    partner = Partner(served, folder, account, made["credential_id"], secret, client)
    partner.login()
    return partner


# The seed's example, less its stray comma.
JOHN_DOE = {
    "subject_dn": {"common_name": "John Doe", "country": "GB", "organizational_unit": ["Administration"]},
    "subject_da": {"gender": "m", "date_of_birth": "1979-01-31", "place_of_birth": "London"},
}
ADMINISTRATION = {"subject_dn": {"organizational_unit": ["Administration"]}}


def decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
