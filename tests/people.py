"""People of the staff for tests: real key files, and a home that they run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from commands import BIN, run
from custodians import make_officer
from custody import ON_TOKEN
from intaglio.cli.main import app

ROLES = {"ann": "security-officer", "bob": "security-officer", "vera": "vetting-officer", "otto": "operator"}


@dataclass(frozen=True)
class Staff:
    """A home with two security officers, a vetting officer and an operator; `folder` holds their keys."""

    home: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def be(self, name: str) -> tuple[str, ...]:
        """Return the options by which somebody acts."""
        return ("--as", str(self.folder / f"{name}.key"), "--as-secret", f"file:{self.folder / f'{name}.secret'}")

    def intaglio(self, *arguments: str | Path, who: str | None = None, ok: bool = True) -> Any:
        """Run a command as somebody; return what it printed as JSON, or its errors by field if it is refused."""
        options = () if who is None else self.be(who)
        command = [str(part) for part in (*arguments, *options, "--home", self.home, "--json")]
        code, printed, errors = self._run(command)
        assert (code == 0) is ok, errors + printed
        return json.loads(printed) if ok else json.loads(errors.splitlines()[-1])["errors"]

    def _run(self, command: list[str]) -> tuple[int, str, str]:
        # A process for each of hundreds of commands takes minutes. A token is opened by one process at a time.
        if self.environment or ON_TOKEN:
            done = run(BIN / "intaglio", *command, check=False, environment=self.environment)
            return done.returncode, done.stdout.decode(), done.stderr.decode()
        found = CliRunner().invoke(app, command, catch_exceptions=False)
        return found.exit_code, found.stdout, found.stderr

    def agree(self, asked: Any, who: str) -> Any:
        """Have somebody agree to what was asked for; returns the result."""
        sha256 = self.intaglio("approvals", "show", asked["approval"])["sha256"]
        return self.intaglio("approvals", "approve", asked["approval"], "--sha256", sha256, who=who)["result"]

    def csr(self, name: str) -> Path:
        """Return the request of somebody, made with a key file of their own."""
        path = self.folder / f"{name}.csr"
        if not path.exists():
            if not (self.folder / f"{name}.key").exists():
                make_officer(self.folder, name)
            secret = f"file:{self.folder / f'{name}.secret'}"
            key = self.folder / f"{name}.key"
            run("openssl", "req", "-new", "-key", key, "-passin", secret, "-subj", f"/CN={name}", "-out", path)
        return path


def found(home: Path, folder: Path, environment: dict[str, str] | None = None) -> Staff:
    """Found the staff of a home."""
    folder.mkdir(parents=True, exist_ok=True)
    staff = Staff(home, folder, dict(environment or {}))
    founders = [f"{name}={staff.csr(name)}" for name in ("ann", "bob")]
    staff.intaglio("staff", "found", "--person", founders[0], "--person", founders[1])
    for name in ("vera", "otto"):
        asked = staff.intaglio("staff", "enrol", name, "--csr", staff.csr(name), "--role", ROLES[name], who="ann")
        staff.agree(asked, "bob")
    return staff
