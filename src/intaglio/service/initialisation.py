"""Making a home folder: settings, master key, hierarchy and database, all of it or nothing."""

import ipaddress
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.database.engine import check_durable, is_empty, migrate, transaction
from intaglio.errors import Conflict, ContentRefused
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.ledger.entry import Event
from intaglio.pki import text
from intaglio.pki.founding import SIZES, Algorithms, build
from intaglio.pki.hierarchy import NOBODY, OFFLINE_ROOT, ROSTER, Roster
from intaglio.revocation import register
from intaglio.service.heads import make_key
from intaglio.service.home import TOKEN_SECRET, Home, certificate_path, open_home
from intaglio.service.roster import write
from intaglio.settings import FILE_NAME, HsmSettings, fault_of_database

_MASTER_KEY = re.compile(r"\A(?:file:[\w./-]{1,200}|env:[A-Za-z_]\w{0,100}|credential:[\w-]{1,100})\Z")
# CN is `<name> TEST Document Signing CA OCSP Responder`, 64 characters at most (X.520).
_MOST_NAME = 20


class Beginning(msgspec.Struct, frozen=True):
    """What an operator decides before there is a service; None lets the others decide."""

    name: str = "Intaglio"
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1")
    api_port: int = 8443
    public_port: int = 8080
    public_url: str | None = None
    bind: str | None = None
    policy_arc: str = "1.3.6.1.4.1.32473"
    country: str | None = None
    algorithm: str = "rsa"
    issuing_algorithm: str | None = None
    tsa_algorithm: str | None = None
    offline_root: bool = False
    master_key: str = "file:master.key"
    database: str | None = None
    hsm: HsmSettings | None = None

    @property
    def url(self) -> str:
        """Where the public listener is reached, as certificates state it."""
        return (self.public_url or f"http://{self.hosts[0]}:{self.public_port}").rstrip("/")

    @property
    def roster(self) -> Roster:
        """The members that are made, and whom they serve."""
        return OFFLINE_ROOT if self.offline_root else ROSTER

    @property
    def algorithms(self) -> Algorithms:
        """The kinds of keys, once they are checked."""
        found = SIZES[self.algorithm]
        return msgspec.structs.replace(
            found,
            issuing=KeyAlgorithm(self.issuing_algorithm or found.issuing),
            tsa=KeyAlgorithm(self.tsa_algorithm or found.tsa),
        )

    @property
    def address(self) -> str:
        """The address to listen on: every one only if a host was named that is not this machine alone."""
        local = all(host == "localhost" or host.startswith("127.") or host == "::1" for host in self.hosts)
        return self.bind or ("127.0.0.1" if local else "0.0.0.0")  # noqa: S104 - asked for by naming other hosts

    def check(self) -> None:
        """Raise `ContentRefused` naming everything that cannot be used."""
        faults: dict[str, str | None] = {
            "name": text.fault_of_text(self.name, _MOST_NAME),
            "policy_arc": text.fault_of_oid(self.policy_arc),
            "country": None if self.country is None else text.fault_of_country(self.country),
            "public_url": text.fault_of_uri(self.url)
            or (None if self.url.startswith("http://") else "must be http://"),
            "algorithm": None if self.algorithm in SIZES else f"must be one of {', '.join(SIZES)}",
            "issuing_algorithm": _fault_of_algorithm(self.issuing_algorithm),
            "tsa_algorithm": _fault_of_algorithm(self.tsa_algorithm),
            "master_key": None if _MASTER_KEY.match(self.master_key) else "must be file:PATH, env: or credential:NAME",
            "bind": text.fault_of_ip_address(self.address),
            "pki_port": "must be another than the API's" if self.public_port == self.api_port else None,
            "database": _fault_of_database(self.database),
            "hsm_pin": _fault_of_pin(self.hsm),
            "host": None if self.hosts else "at least one is needed",
        }
        faults |= {f"host {host}": _fault_of_host(host) for host in self.hosts}
        found = {field: reason for field, reason in faults.items() if reason is not None}
        if found:
            raise ContentRefused("The service cannot be made like this; nothing was changed.", found)

    def settings(self) -> str:
        """Return the settings file; JSON strings are strings of TOML, too."""
        quoted = json.dumps
        return f"""# Settings of this Intaglio. Every key is explained in docs/operate/settings.md.
name = {quoted(self.name, ensure_ascii=False)}
hosts = {quoted(list(self.hosts))}
# The arc of certificate policy OIDs.
policy_arc = {quoted(self.policy_arc)}
{self._country()}
[api]
bind = {quoted(self.address)}
port = {self.api_port}

[public]
bind = {quoted(self.address)}
port = {self.public_port}
# Written into every certificate: it must lead to this listener for years.
url = {quoted(self.url)}

[keys]
master_key = {quoted(self.master_key)}
{self._database()}{self._hsm()}
# Time-stamps promise an accuracy: have the clock checked before others rely on them (docs/operate/running.md).
# [clock]
# source = "ntp"
# servers = ["ntp1.example.com", "ntp2.example.com", "ntp3.example.com", "ntp4.example.com"]
"""

    def _country(self) -> str:
        return f"# In the names of authorities.\ncountry = {json.dumps(self.country)}\n" if self.country else ""

    def _database(self) -> str:
        return f"\n[database]\nurl = {json.dumps(self.database)}\n" if self.database else ""

    def _hsm(self) -> str:
        if self.hsm is None:
            return ""
        told = msgspec.to_builtins(self.hsm)
        names = ("module", "token_label", "token_serial", "pin", "identities")
        lines = [f"{name} = {json.dumps(told[name], ensure_ascii=False)}" for name in names if told[name] is not None]
        return "\n# The token on which keys are made and kept.\n[hsm]\n" + "\n".join(lines) + "\n"


def _fault_of_pin(hsm: HsmSettings | None) -> str | None:
    if hsm is None or re.match(r"\A(?:file:/.+|env:[A-Za-z_]\w*|credential:[\w-]+)\Z", hsm.pin):
        return None
    return "must be file:/ABSOLUTE/PATH, env:NAME or credential:NAME"


def _fault_of_database(reference: str | None) -> str | None:
    if reference is None:
        return None
    # The home that a path would be relative to is not there yet.
    relative = reference.startswith("file:") and not reference.startswith("file:/")
    return "must be file:/ABSOLUTE/PATH" if relative else fault_of_database(reference)


def _fault_of_algorithm(name: str | None) -> str | None:
    return None if name is None or name in list(KeyAlgorithm) else f"must be one of {', '.join(KeyAlgorithm)}"


def _fault_of_host(host: str) -> str | None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return text.fault_of_dns_name(host)
    return None


def initialise(
    path: Path, beginning: Beginning, now: datetime, progress: Callable[[str], None], *, authorities: bool = True
) -> Home:
    """Make the home folder, `authorities` False without any of the hierarchy: for a root that a ceremony makes.

    Raises `Conflict` if there is anything at `path`, `ContentRefused`, `KeyUnavailable`.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Conflict(f"{path} exists and is not empty: nothing was changed.", {"home": "exists"})
    beginning.check()
    # Built beside its place and moved there whole: there is never half a home.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(mode=0o700, parents=True)
        (draft / FILE_NAME).write_text(beginning.settings(), encoding="utf-8")
        _write_master_key(draft, beginning.master_key)
        _fill(draft, beginning, now, progress, authorities=authorities)
        if path.exists():
            path.rmdir()
        draft.rename(path)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise Conflict(f"{path} cannot be made: {error.strerror}.", {"home": str(error.strerror)}) from error
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return open_home(path)


def _write_master_key(home: Path, reference: str) -> None:
    scheme, _, place = reference.partition(":")
    if scheme == "file":
        descriptor = os.open(home / place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")


def _fill(
    path: Path, beginning: Beginning, now: datetime, progress: Callable[[str], None], *, authorities: bool
) -> None:
    home = open_home(path, new=True)
    try:
        roster = beginning.roster if authorities else NOBODY
        made = build(
            beginning.name,
            country=beginning.country,
            sizes=beginning.algorithms,
            hosts=beginning.hosts,
            places=home.places,
            now=now,
            generate=home.custody.generate,
            progress=progress,
            members=roster.members,
        )
        write(path, Roster(tuple(one.member for one in made), roster.families))
        home.keyring.store_secret(TOKEN_SECRET, secrets.token_bytes(32))
        if authorities:
            make_key(home)
        for one in made:
            home.keyring.store_key(one.member.name, one.key)
            target = certificate_path(path, one.member.name)
            target.parent.mkdir(mode=0o755, exist_ok=True)
            target.write_bytes(one.certificate.public_bytes(Encoding.PEM))
        events = [
            Event(
                now,
                "certificate.issued",
                reference=register.serial_text(one.certificate.serial_number),
                details={"issuer": one.prepared.issuer, "member": one.member.name},
            )
            for one in made
        ]
        with transaction(home.engine) as connection:
            if not is_empty(connection):
                raise Conflict(
                    "The database is not empty: nothing was changed in it.", {"database": "give one that has no tables"}
                )
            migrate(connection)
            check_durable(connection)
            for one in made:
                register.plan(connection, one.prepared, None)
                register.issued(connection, one.prepared.issuer, one.certificate)
            start = Event(now, "service.initialised", details={"name": beginning.name})
            home.chain.append(connection, [start, *events])
        for store in path.glob("*.db*"):
            store.chmod(0o600)
    finally:
        home.close()
