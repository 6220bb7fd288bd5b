"""API credentials and client certificates: what an account proves itself with."""

import hashlib
import hmac
import secrets
from datetime import datetime
from enum import StrEnum

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Column, Connection, ForeignKey, LargeBinary, String, Table, select, update

from intaglio.accounts.register import new_id
from intaglio.database.engine import bump_revision
from intaglio.database.schema import Instant, metadata
from intaglio.database.statement import storable
from intaglio.errors import Conflict, ContentRefused, NotFound, Unauthenticated
from intaglio.revocation.register import serial_text


class State(StrEnum):
    """Whether a credential still opens anything."""

    ACTIVE = "active"
    REVOKED = "revoked"


credentials = Table(
    "credentials",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account_id", String(32), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("api_key", String(16), nullable=False, unique=True),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

client_certificates = Table(
    "client_certificates",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("serial", String(40), nullable=False),
    Column("account_id", String(32), ForeignKey("accounts.id"), nullable=False),
    Column("credential_id", String(32), ForeignKey("credentials.id"), nullable=False, index=True),
    Column("not_before", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("revoked_at", Instant),
)


class Credential(msgspec.Struct, frozen=True):
    """An API key as the register holds it; its secret is known to its owner alone."""

    id: str
    account_id: str
    api_key: str
    secret_hash: bytes
    state: State
    created_at: datetime
    revoked_at: datetime | None = None


class ClientCertificate(msgspec.Struct, frozen=True):
    """A client certificate that was issued to an account; `sha256` is over its DER, hex."""

    sha256: str
    serial: str
    account_id: str
    credential_id: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None = None


class Secret(msgspec.Struct, frozen=True):
    """What is shown once: the key (16 hex) and the secret (40 hex)."""

    api_key: str
    api_secret: str


def _hash(secret: str) -> bytes:
    # 160 random bits can't be guessed, so that a slow hash would only slow the login.
    return hashlib.sha256(secret.encode()).digest()


def create(connection: Connection, account_id: str, now: datetime) -> tuple[Credential, Secret]:
    """Make and store a new credential; its secret is returned here and never again."""
    secret = Secret(secrets.token_hex(8), secrets.token_hex(20))
    credential = Credential(new_id(), account_id, secret.api_key, _hash(secret.api_secret), State.ACTIVE, now)
    connection.execute(credentials.insert(), msgspec.structs.asdict(credential))
    bump_revision(connection)
    return credential, secret


def enrol(connection: Connection, credential: Credential, certificate: x509.Certificate) -> ClientCertificate:
    """Bind a client certificate to a credential."""
    enrolled = ClientCertificate(
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        serial=serial_text(certificate.serial_number),
        account_id=credential.account_id,
        credential_id=credential.id,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )
    connection.execute(client_certificates.insert(), msgspec.structs.asdict(enrolled))
    bump_revision(connection)
    return enrolled


def find(connection: Connection, credential_id: str) -> Credential:
    """Return a credential; raises `NotFound`."""
    row = connection.execute(select(credentials).where(credentials.c.id == credential_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such credential.", {"credential": "not found"})
    return _credential(row)


def of_account(connection: Connection, account_id: str) -> list[Credential]:
    """Return an account's credentials, oldest first."""
    query = select(credentials).where(credentials.c.account_id == account_id).order_by(credentials.c.created_at)
    return [_credential(row) for row in connection.execute(query)]


def certificates_of(connection: Connection, credential_id: str) -> list[ClientCertificate]:
    """Return the client certificates bound to a credential."""
    query = select(client_certificates).where(client_certificates.c.credential_id == credential_id)
    return [_certificate(row) for row in connection.execute(query)]


def by_fingerprint(connection: Connection, sha256: str) -> ClientCertificate | None:
    """Return the client certificate with this fingerprint (hex), if we issued it."""
    row = connection.execute(select(client_certificates).where(client_certificates.c.sha256 == sha256)).one_or_none()
    return None if row is None else _certificate(row)


def authenticate(connection: Connection, api_key: str, api_secret: str) -> Credential:
    """Return the credential that key and secret open; raises `Unauthenticated`, the same for every reason."""
    asked = select(credentials).where(credentials.c.api_key == storable(api_key))
    row = connection.execute(asked).one_or_none()
    # An unknown key costs the same comparison as a known one.
    stored = bytes(32) if row is None else bytes(row.secret_hash)
    right = hmac.compare_digest(stored, _hash(api_secret))
    if row is None or not right or row.state != State.ACTIVE:
        raise Unauthenticated("The API key or secret is wrong.", {"api_key": "key or secret is wrong"})
    return _credential(row)


def revoke(connection: Connection, credential_id: str, now: datetime) -> list[ClientCertificate]:
    """Revoke a credential and its certificates; return those revoked now. Raises `NotFound`, `Conflict`."""
    credential = find(connection, credential_id)
    if credential.state == State.REVOKED:
        raise Conflict("The credential is revoked already.", {"credential": "revoked already"})
    connection.execute(
        update(credentials).where(credentials.c.id == credential_id).values(state=State.REVOKED, revoked_at=now)
    )
    # Its tokens die even if it has no certificate left to revoke.
    bump_revision(connection)
    return [
        revoke_certificate(connection, certificate.sha256, now)
        for certificate in certificates_of(connection, credential_id)
        if certificate.revoked_at is None
    ]


def revoke_certificate(connection: Connection, sha256: str, now: datetime) -> ClientCertificate:
    """Revoke one client certificate; raises `NotFound`."""
    connection.execute(update(client_certificates).where(client_certificates.c.sha256 == sha256).values(revoked_at=now))
    bump_revision(connection)
    found = by_fingerprint(connection, sha256)
    if found is None:
        raise NotFound("There is no such client certificate.", {"certificate": "not found"})
    return found


def revoke_serial(connection: Connection, serial: str, now: datetime) -> None:
    """Close the API to the client certificate with this serial number, if there is one."""
    connection.execute(update(client_certificates).where(client_certificates.c.serial == serial).values(revoked_at=now))
    bump_revision(connection)


def check_encryption(key: object) -> rsa.RSAPublicKey:
    """Return `key` if credentials can be encrypted to it; raises `ContentRefused`."""
    if isinstance(key, rsa.RSAPublicKey):
        return key
    raise ContentRefused(
        "Credentials can only be encrypted to an RSA key.", {"public_key": "must be RSA; use a CSR instead"}
    )


def encrypt(secret: Secret, key: object) -> bytes:
    """Return the credential as JSON, encrypted to an RSA key by OAEP with SHA-256 (RFC 8017 §7.1).

    `openssl pkeyutl -decrypt -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256` opens it.
    """
    sha256 = hashes.SHA256()
    return check_encryption(key).encrypt(
        msgspec.json.encode(secret) + b"\n", padding.OAEP(padding.MGF1(sha256), sha256, None)
    )


def pem_chain(*certificates: x509.Certificate) -> bytes:
    """Return certificates in PEM, one behind the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _credential(row: object) -> Credential:
    fields = {name: getattr(row, name) for name in Credential.__struct_fields__}
    fields["secret_hash"] = bytes(fields["secret_hash"])
    fields["state"] = State(fields["state"])
    return Credential(**fields)


def _certificate(row: object) -> ClientCertificate:
    return ClientCertificate(**{name: getattr(row, name) for name in ClientCertificate.__struct_fields__})
