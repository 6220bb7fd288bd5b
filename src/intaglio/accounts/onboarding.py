"""Use cases of the operator: open an account, give it credentials, take them away; each leaves an entry."""

import hashlib
import re
from datetime import datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection, Engine

from intaglio.accounts import credentials, policy, quota, register
from intaglio.accounts.kinds import Kind, starting_policy
from intaglio.accounts.profiles import choice
from intaglio.accounts.quota import Resource
from intaglio.accounts.register import Account, State
from intaglio.database.engine import transaction
from intaglio.errors import Conflict, ContentRefused, Malformed
from intaglio.keys.algorithm import PublicKey
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki import public_key
from intaglio.pki.hierarchy import Hierarchy
from intaglio.pki.issuer import Issuer
from intaglio.revocation import register as certificates

_ACTS = {State.SUSPENDED: "suspended", State.ACTIVE: "resumed", State.CLOSED: "closed"}
_NAME = re.compile(r"\A\S(.{0,126}\S)?\Z")


class Issued(msgspec.Struct, frozen=True):
    """A credential with its client certificate; `secret` is None when only the certificate is new."""

    credential: credentials.Credential
    certificate: x509.Certificate
    secret: credentials.Secret | None


def create_account(
    connection: Connection,
    chain: Chain,
    *,
    name: str,
    kind: Kind,
    hierarchy: Hierarchy,
    organization: str | None,
    country: str | None,
    granted: dict[Resource, int | None],
    now: datetime,
    profile: str | None = None,
) -> Account:
    """Open an account under the starting policy of its kind and profile; raises `ContentRefused` naming the field."""
    if _NAME.match(name) is None or not name.isprintable():
        raise ContentRefused("The account's name cannot be used.", {"name": "1 to 128 printable characters"})
    for resource, amount in granted.items():
        if amount is not None and not 0 <= amount <= 10**18:
            raise ContentRefused("The quota cannot be used.", {f"quota_{resource}": "must be from 0 to 10^18"})
    new_id = register.new_id()
    account = Account(new_id, name, kind, hierarchy, organization, country, State.ACTIVE, now, profile)
    chosen = choice.of(connection, account)
    choice.check_holder(chosen, kind)
    document = starting_policy(kind, organization, country, chosen)
    try:
        policy.propose(document, chosen)
    except ContentRefused as error:
        # What can be wrong in it is what was given for it.
        reasons = {path.split(".")[1].replace("common_name", "organization"): why for path, why in error.fields.items()}
        raise ContentRefused("The account cannot be opened.", reasons) from error
    register.add(connection, account, document, chain.actor)
    quota.open_quotas(connection, account.id, granted)
    _record(
        connection,
        chain,
        now,
        "account.created",
        account.id,
        {
            "name": name,
            "kind": kind,
            "hierarchy": hierarchy,
            "organization": organization,
            "country": country,
            **({} if profile is None else {"profile": profile}),
            "quotas": {str(resource): amount for resource, amount in granted.items()},
        },
    )
    return account


def change_state(connection: Connection, chain: Chain, account_id: str, state: State, now: datetime) -> Account:
    """Suspend, resume or close an account; raises `NotFound` or `Conflict`."""
    account = register.change_state(connection, account_id, state)
    _record(connection, chain, now, f"account.{_ACTS[state]}", account_id, {})
    return account


def set_policy(connection: Connection, chain: Chain, account_id: str, document: Any, now: datetime) -> int:
    """Put a new policy in force and return its version; raises `ContentRefused` naming every bad place."""
    account = register.find(connection, account_id)
    if not isinstance(document, dict):
        raise Malformed("A policy is a JSON object.", {"policy": "must be an object"})
    policy.propose(document, choice.of(connection, account))
    version = register.set_policy(connection, account_id, document, chain.actor, now)
    details = {"version": version, "sha256": policy_hash(document)}
    _record(connection, chain, now, "policy.set", account_id, details)
    return version


def policy_hash(document: Any) -> str:
    """Return the SHA-256, hex, by which entries name a policy document."""
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


def read_csr(pem: bytes) -> PublicKey:
    """Return the key of a PKCS#10 request; raises `Malformed`, `WeakKey`, or `ContentRefused` without proof of it."""
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("The file is not a certificate signing request in PEM.", {"csr": str(error)}) from error
    checked = public_key.check(key, "csr")
    if not request.is_signature_valid:
        raise ContentRefused("The request is not signed by its own key.", {"csr": "bad signature"})
    return checked


def read_public_key(pem: bytes) -> PublicKey:
    """Return a public key; raises `Malformed` or `WeakKey`."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("The file is not a public key in PEM.", {"public_key": str(error)}) from error
    return public_key.check(key, "public_key")


def create_credential(
    engine: Engine, chain: Chain, issuer: Issuer, *, account_id: str, key: PublicKey, now: datetime
) -> Issued:
    """Make an API credential and a client certificate for `key`; raises `NotFound` or `Conflict`."""
    with transaction(engine) as connection:
        account = _open_account(connection, account_id)
    certificate = _certify(engine, issuer, account, key, now)
    with transaction(engine) as connection:
        credential, secret = credentials.create(connection, account_id, now)
        _enrol(connection, chain, issuer, credential, certificate, now)
        _record(connection, chain, now, "credential.created", account_id, {"credential": credential.id}, credential.id)
    return Issued(credential, certificate, secret)


def renew_certificate(
    engine: Engine, chain: Chain, issuer: Issuer, *, credential_id: str, key: PublicKey, now: datetime
) -> Issued:
    """Issue a further client certificate for a credential that is still active; the older ones stay valid."""
    with transaction(engine) as connection:
        credential = credentials.find(connection, credential_id)
        if credential.state != credentials.State.ACTIVE:
            raise Conflict("The credential is revoked.", {"credential": "revoked"})
        account = _open_account(connection, credential.account_id)
    certificate = _certify(engine, issuer, account, key, now)
    with transaction(engine) as connection:
        _enrol(connection, chain, issuer, credential, certificate, now)
    return Issued(credential, certificate, None)


def revoke_credential(
    connection: Connection, chain: Chain, issuer_name: str, credential_id: str, reason: str, now: datetime
) -> credentials.Credential:
    """Revoke a credential with its client certificates; raises `NotFound` or `Conflict`."""
    for enrolled in credentials.revoke(connection, credential_id, now):
        certificates.revoke(connection, issuer_name, enrolled.serial, reason, now)
        _record(
            connection,
            chain,
            now,
            "certificate.revoked",
            enrolled.account_id,
            {"issuer": issuer_name, "serial": enrolled.serial, "reason": reason},
            enrolled.serial,
        )
    credential = credentials.find(connection, credential_id)
    _record(
        connection,
        chain,
        now,
        "credential.revoked",
        credential.account_id,
        {"credential": credential_id, "reason": reason},
        credential_id,
    )
    return credential


def revoke_certificate(
    connection: Connection, chain: Chain, issuer_name: str, serial: str, reason: str, now: datetime
) -> certificates.Standing:
    """Revoke any certificate that the CA `issuer_name` issued; a client certificate stops opening the API too."""
    standing = certificates.revoke(connection, issuer_name, serial, reason, now)
    credentials.revoke_serial(connection, serial, now)
    details = {"issuer": issuer_name, "serial": serial, "reason": reason}
    _record(connection, chain, now, "certificate.revoked", standing.account_id, details, serial)
    return standing


def _open_account(connection: Connection, account_id: str) -> Account:
    account = register.find(connection, account_id)
    if account.state == State.CLOSED:
        raise Conflict("The account is closed.", {"account": "closed"})
    return account


def _certify(engine: Engine, issuer: Issuer, account: Account, key: PublicKey, now: datetime) -> x509.Certificate:
    # The subject is ours alone: nothing of a CSR but its key is taken over.
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, account.name[:64].rstrip()),
            x509.NameAttribute(NameOID.COMMON_NAME, account.id),
        ]
    )
    prepared = issuer.prepare("client", subject=subject, public_key=key, now=now)
    with transaction(engine) as connection:
        certificates.plan(connection, prepared, account.id)
    return issuer.issue(prepared)


def _enrol(
    connection: Connection,
    chain: Chain,
    issuer: Issuer,
    credential: credentials.Credential,
    certificate: x509.Certificate,
    now: datetime,
) -> None:
    certificates.issued(connection, issuer.name, certificate)
    enrolled = credentials.enrol(connection, credential, certificate)
    details = {"issuer": issuer.name, "serial": enrolled.serial, "credential": credential.id}
    _record(connection, chain, now, "certificate.issued", credential.account_id, details, enrolled.serial)


def _record(
    connection: Connection,
    chain: Chain,
    now: datetime,
    kind: str,
    account_id: str | None,
    details: dict[str, Any],
    reference: str | None = None,
) -> None:
    chain.append(connection, [Event(now, kind, account_id, reference, None, details)])
