"""The home folder: made once by `initialise`, opened by every command after it.

intaglio.toml      settings            master.key   the master key (or an environment variable)
intaglio.db        state               keys/        the service's own keys, sealed
pki/               certificates        tls/         anchors and certificate of the API listener
"""

import getpass
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Engine

from intaglio.database.engine import migrate, open_engine, transaction
from intaglio.errors import Conflict, ContentRefused
from intaglio.keys.keyring import Keyring
from intaglio.keys.sealing import SealingKey
from intaglio.keys.software import SoftwareCustody
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki.hierarchy import MEMBERS, SIZES, build
from intaglio.pki.issuer import Issuer, Publication
from intaglio.pki.text import fault_of_oid
from intaglio.revocation import register
from intaglio.settings import FILE_NAME, Settings, database_url, load, master_key

_PLACES = {"server": "tls/server-ca.crt", "tls": "tls/server.crt", "client": "tls/client-ca.crt"}
TOKEN_SECRET = "access-tokens"  # noqa: S105 - the name of a sealed file


@dataclass(frozen=True, slots=True)
class Home:
    """An opened home folder."""

    path: Path
    settings: Settings
    engine: Engine
    chain: Chain
    custody: SoftwareCustody
    identity_custody: SoftwareCustody
    keyring: Keyring
    places: Publication

    def certificate(self, member: str) -> x509.Certificate:
        """Return the certificate of a member of the hierarchy."""
        return x509.load_pem_x509_certificate(certificate_path(self.path, member).read_bytes())

    def issuer(self, member: str) -> Issuer:
        """Return a CA with its key; raises `KeyUnavailable`."""
        test = next(one.test for one in MEMBERS if one.name == member)
        return Issuer(member, self.certificate(member), self.keyring.key(member), self.places, test=test)


def certificate_path(home: Path, member: str) -> Path:
    """Return where a member's certificate lies."""
    return home / _PLACES.get(member, f"pki/{member}.crt")


def open_home(path: Path, actor: str | None = None) -> Home:
    """Open an initialised home for `actor`, the operating system's user if not said.

    Raises `Conflict` when there is none, `KeyUnavailable` without its master key.
    """
    settings = load(path)
    master = master_key(settings, path)
    engine = open_engine(database_url(settings, path))
    custody = SoftwareCustody(SealingKey(master, "service keys"))
    return Home(
        path=path,
        settings=settings,
        engine=engine,
        chain=Chain(actor or f"os:{os.environ.get('SUDO_USER') or getpass.getuser()}"),
        custody=custody,
        identity_custody=SoftwareCustody(SealingKey(master, "identity keys")),
        keyring=Keyring(path / "keys", custody, SealingKey(master, "service secrets")),
        places=Publication(settings.public.url, settings.policy_arc),
    )


def initialise(
    path: Path,
    *,
    name: str,
    hosts: Sequence[str],
    api_port: int,
    public_port: int,
    public_url: str | None,
    bind: str | None,
    policy_arc: str,
    family: str,
    master: str,
    now: datetime,
    progress: Callable[[str], None],
) -> Home:
    """Make the home folder with keys, hierarchy and database; raises `Conflict` if there is anything at `path`."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Conflict(f"{path} exists and is not empty: nothing was changed.", {"home": "exists"})
    if family not in SIZES:
        raise ContentRefused("The algorithm is unknown.", {"algorithm": f"one of {', '.join(SIZES)}"})
    for field, text in (("name", name), *(("host", host) for host in hosts)):
        if not text.isprintable() or text != text.strip() or not 0 < len(text) <= 40 or set(text) & set("\"'\\/"):
            raise ContentRefused(f"{text!r} cannot be used.", {field: "1 to 40 printable characters, no quotes"})
    reason = fault_of_oid(policy_arc)
    if reason is not None or len(policy_arc) > 80:
        raise ContentRefused(f"{policy_arc!r} cannot be used.", {"policy_arc": reason or "is too long"})
    # Built beside its place and moved there whole: there is never half a home.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.mkdir(mode=0o700, parents=True)
    try:
        _write_settings(draft, name, hosts, api_port, public_port, public_url, bind, policy_arc, master)
        _fill(draft, family, hosts, now, progress)
        if path.exists():
            path.rmdir()
        draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return open_home(path)


def _write_settings(
    home: Path,
    name: str,
    hosts: Sequence[str],
    api_port: int,
    public_port: int,
    public_url: str | None,
    bind: str | None,
    policy_arc: str,
    master: str,
) -> None:
    local = all(host == "localhost" or host.startswith("127.") or host == "::1" for host in hosts)
    address = bind or ("127.0.0.1" if local else "0.0.0.0")  # noqa: S104 - asked for by naming other hosts
    url = public_url or f"http://{hosts[0]}:{public_port}"
    listed = ", ".join(f'"{host}"' for host in hosts)
    text = f"""# Settings of this Intaglio. Every key is explained in docs/operate/settings.md.
name = "{name}"
hosts = [{listed}]
# The arc of certificate policy OIDs.
policy_arc = "{policy_arc}"

[api]
bind = "{address}"
port = {api_port}

[public]
bind = "{address}"
port = {public_port}
# Written into every certificate: it must lead to this listener for years.
url = "{url.rstrip("/")}"

[keys]
master_key = "{master}"
"""
    (home / FILE_NAME).write_text(text, encoding="utf-8")
    scheme, _, place = master.partition(":")
    if scheme == "file":
        descriptor = os.open(home / place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")


def _fill(path: Path, family: str, hosts: Sequence[str], now: datetime, progress: Callable[[str], None]) -> None:
    home = open_home(path)
    try:
        migrate(home.engine)
        for store in path.glob("*.db*"):
            store.chmod(0o600)
        made = build(
            home.settings.name,
            sizes=SIZES[family],
            hosts=hosts,
            places=home.places,
            now=now,
            generate=home.custody.generate,
            progress=progress,
        )
        home.keyring.store_secret(TOKEN_SECRET, secrets.token_bytes(32))
        for one in made:
            home.keyring.store_key(one.member.name, one.key)
            target = certificate_path(path, one.member.name)
            target.parent.mkdir(mode=0o755, exist_ok=True)
            target.write_bytes(one.certificate.public_bytes(Encoding.PEM))
        with transaction(home.engine) as connection:
            for one in made:
                register.plan(connection, one.prepared, None)
                register.issued(connection, one.prepared.issuer, one.certificate)
            events = [
                Event(
                    now,
                    "certificate.issued",
                    reference=register.serial_text(one.certificate.serial_number),
                    details={"issuer": one.prepared.issuer, "member": one.member.name},
                )
                for one in made
            ]
            home.chain.append(
                connection, [Event(now, "service.initialised", details={"name": home.settings.name}), *events]
            )
    finally:
        home.engine.dispose()
