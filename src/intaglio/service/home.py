"""The home folder, opened by every command; `initialisation` makes it.

intaglio.toml      settings            master.key   the master key (or an environment variable)
intaglio.db        state               keys/        the service's own keys, sealed
pki/               certificates        tls/         anchors and certificate of the API listener
                   and hierarchy.json, who is a member and who serves
heads/             signed heads of the ledger
"""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography import x509
from sqlalchemy import Engine

from intaglio.database.engine import open_engine, transaction
from intaglio.errors import KeyUnavailable, RuleBroken
from intaglio.keys.custody import Custody, Form, IdentityCustody
from intaglio.keys.epoch_files import EpochFiles
from intaglio.keys.hardware import ResidentIdentities, TokenCustody, WrappedIdentities
from intaglio.keys.keyring import Keyring
from intaglio.keys.sealing import SealingKey
from intaglio.keys.software import SoftwareCustody, SoftwareIdentities
from intaglio.keys.token import Token
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki.hierarchy import KeyPlace, Roster, subject
from intaglio.pki.issuer import Issuer
from intaglio.pki.publication import Publication
from intaglio.service.hsm import open_token
from intaglio.service.roster import read as read_roster
from intaglio.settings import Settings, database_url, load, master_key

_PLACES = {"server": "tls/server-ca.crt", "tls": "tls/server.crt", "client": "tls/client-ca.crt"}
# The TLS library takes its key from a file, not from a token.
_TLS = "tls"
TOKEN_SECRET = "access-tokens"  # noqa: S105 - the name of a sealed file


@dataclass(frozen=True, slots=True)
class Home:
    """An opened home folder."""

    path: Path
    settings: Settings
    engine: Engine
    chain: Chain
    custody: Custody
    token: Token | None
    # How identities' keys are made, and everything that opens them.
    identities: Form
    custodies: Mapping[Form, IdentityCustody]
    keyring: Keyring
    # What tokens of identity providers rest under.
    evidence: SealingKey
    places: Publication

    @property
    def patience_seconds(self) -> float | None:
        """How long a call of the keys' store may take; None where nothing is asked of anything outside."""
        return None if self.settings.hsm is None else self.settings.hsm.timeout_seconds

    def roster(self) -> Roster:
        """Return the members of the hierarchy and who serves, as of now; raises `ContentRefused`."""
        return read_roster(self.path)

    def certificate(self, member: str) -> x509.Certificate:
        """Return the certificate of a member of the hierarchy."""
        path = certificate_path(self.path, member)
        try:
            return x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise KeyUnavailable(f"the certificate of {member} cannot be read at {path}") from error

    def issuer(self, member: str, *, recording: bool = True) -> Issuer:
        """Return a CA with its key; raises `NotFound`, or `KeyUnavailable` for one whose key is not here.

        What rules refuse it is recorded at once, or with `recording` False by who asked for it.
        """
        found = self.roster().member(member)
        if found.key != KeyPlace.HERE:
            raise KeyUnavailable(f"the key of {member} is {found.key}")
        return Issuer(
            member,
            self.certificate(member),
            self.keyring.key(member),
            self.places,
            test=found.test,
            refused=partial(self._record_refusal, member) if recording else None,
        )

    def _record_refusal(self, issuer: str, profile: str, error: RuleBroken) -> None:
        details = {"rule": error.rule, "reason": error.reason, "profile": profile, "issuer": issuer}
        event = Event(datetime.now(UTC), "lint.refused", reference=profile, details=details)
        with transaction(self.engine) as connection:
            self.chain.append(connection, [event])

    def subject(self, title: str) -> x509.Name:
        """Return the name that a member of this home bears."""
        return subject(self.settings.name, title, self.settings.country)

    def close(self) -> None:
        """Let go of the database and of the token, whose keys opened here sign no more."""
        self.engine.dispose()
        if self.token is not None:
            self.token.close()


def operator() -> str:
    """Return who runs a command, as the ledger says it: the operating system's user."""
    return f"os:{os.environ.get('SUDO_USER') or getpass.getuser()}"


def certificate_path(home: Path, member: str) -> Path:
    """Return where a member's certificate lies."""
    return home / _PLACES.get(member, f"pki/{member}.crt")


def open_home(path: Path, actor: str | None = None, *, new: bool = False, lasting: bool = False) -> Home:
    """Open an initialised home for `actor`, the operating system's user if not said; `lasting` if it will serve.

    Raises `Conflict` when there is none, `KeyUnavailable` without its master key.
    """
    settings = load(path)
    master = master_key(settings, path)
    engine = open_engine(database_url(settings, path), new=new, lasting=lasting)
    service_keys = SealingKey(master, "service keys")
    custodies: dict[Form, IdentityCustody] = {
        Form.SOFTWARE: SoftwareIdentities(EpochFiles(path / settings.keys.epoch_folder, SealingKey(master, "epochs")))
    }
    custody: Custody = SoftwareCustody(service_keys)
    token = open_token(settings, path) if settings.hsm is not None else None
    if token is not None:
        references = SealingKey(master, "identity keys on a token")
        custody = TokenCustody(token, service_keys, frozenset({_TLS}))
        custodies[Form.WRAPPED] = WrappedIdentities(token, references)
        custodies[Form.RESIDENT] = ResidentIdentities(token, references)
    return Home(
        path=path,
        settings=settings,
        engine=engine,
        chain=Chain(actor or operator()),
        custody=custody,
        token=token,
        identities=Form.SOFTWARE if settings.hsm is None else Form(settings.hsm.identities),
        custodies=custodies,
        keyring=Keyring(path / "keys", custody, SealingKey(master, "service secrets")),
        evidence=SealingKey(master, "identity evidence"),
        places=Publication(
            settings.public.url, settings.policy_arc, settings.profiles.cps, settings.profiles.disclosures
        ),
    )
