"""The home folder, opened by every command; `initialisation` makes it.

intaglio.toml      settings            master.key   the master key (or an environment variable)
intaglio.db        state               keys/        the service's own keys, sealed
pki/               certificates        tls/         anchors and certificate of the API listener
"""

import getpass
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from sqlalchemy import Engine

from intaglio.database.engine import open_engine
from intaglio.errors import KeyUnavailable
from intaglio.keys.keyring import Keyring
from intaglio.keys.sealing import SealingKey
from intaglio.keys.software import SoftwareCustody
from intaglio.ledger.writer import Chain
from intaglio.pki.hierarchy import MEMBERS
from intaglio.pki.issuer import Issuer, Publication
from intaglio.settings import Settings, database_url, load, master_key

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
        path = certificate_path(self.path, member)
        try:
            return x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise KeyUnavailable(f"the certificate of {member} cannot be read at {path}") from error

    def issuer(self, member: str) -> Issuer:
        """Return a CA with its key; raises `KeyUnavailable`."""
        test = next(one.test for one in MEMBERS if one.name == member)
        return Issuer(member, self.certificate(member), self.keyring.key(member), self.places, test=test)


def certificate_path(home: Path, member: str) -> Path:
    """Return where a member's certificate lies."""
    return home / _PLACES.get(member, f"pki/{member}.crt")


def open_home(path: Path, actor: str | None = None, *, new: bool = False) -> Home:
    """Open an initialised home for `actor`, the operating system's user if not said.

    Raises `Conflict` when there is none, `KeyUnavailable` without its master key.
    """
    settings = load(path)
    master = master_key(settings, path)
    engine = open_engine(database_url(settings, path), new=new)
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
