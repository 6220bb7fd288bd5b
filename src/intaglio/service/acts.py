"""The acts that need two people: what each takes, what it would change, and how it is carried out.

An act is asked for as JSON, so that it can wait, be looked at and be signed. Who may is in `staff.rights`.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection

from intaglio.accounts import onboarding, register
from intaglio.accounts.kinds import PROFILE_OF, Kind, starting_policy
from intaglio.accounts.profiles import register as profiles
from intaglio.accounts.quota import Resource
from intaglio.accounts.register import Account
from intaglio.accounts.verification import decisions
from intaglio.accounts.verification import register as mechanisms
from intaglio.accounts.verification.register import Mechanism
from intaglio.errors import ContentRefused, Malformed
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import Hierarchy
from intaglio.revocation import register as certificates
from intaglio.service.act import Act, Seen, says, to
from intaglio.service.authorities import import_list
from intaglio.service.home import Home
from intaglio.service.profile_acts import PROFILE_ACTS
from intaglio.service.profiles import check_usable
from intaglio.service.rates import RATE_ACTS
from intaglio.service.renewal import install_renewal, renew, renewable
from intaglio.service.retention import RETENTION_ACTS
from intaglio.service.staffing import Enrolment, Removal, enrol, look_at_enrolment, look_at_removal, read_key, remove
from intaglio.staff.replayed import Done
from intaglio.staff.signature import encoded


class CreateAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new account; quotas None are without limit."""

    name: str
    kind: Kind
    hierarchy: Hierarchy
    organization: str | None
    country: str | None
    quotas: dict[Resource, int | None]
    profile: str | None = None


class OfAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account, by id."""

    account: str


class SetPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy document for an account."""

    account: str
    document: dict[str, Any]


class OfMechanism(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verification mechanism, by id."""

    mechanism: str


class RevokeCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate, by its issuer in the hierarchy and its serial number in hex."""

    issuer: str
    serial: str
    reason: str


class ImportList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A revocation list, DER, of the CA `name`."""

    name: str
    crl: bytes


class RenewMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member whose end certificate is renewed; `certificate` (PEM) if it was signed elsewhere."""

    name: str
    certificate: str | None = None


class HoldCeremony(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ceremony, by the SHA-256 (hex) of its script and its title."""

    script: str
    title: str


# The certificates of authorities and of what answers for them; every other is one that was issued to somebody.
OF_AUTHORITIES = frozenset({"root", "issuing", "tsa", "ocsp", "client-ca", "server-ca"})

# Accounts ----------------------------------------------------------------------------------------


def _look_at_new(home: Home, connection: Connection, asked: CreateAccount, now: datetime) -> Seen:
    profile = profiles.find(connection, asked.profile or PROFILE_OF[asked.kind])
    check_usable(home, connection, profile, asked.hierarchy, now)
    policy = starting_policy(asked.kind, asked.organization, asked.country, profile)
    after = {**msgspec.to_builtins(asked), "policy": policy}
    return Seen(None, after, guarded=asked.hierarchy == Hierarchy.PRODUCTION)


def _create(home: Home, connection: Connection, asked: CreateAccount, now: datetime) -> Any:
    account = onboarding.create_account(
        connection,
        home.chain,
        name=asked.name,
        kind=asked.kind,
        hierarchy=asked.hierarchy,
        organization=asked.organization,
        country=asked.country,
        granted=asked.quotas,
        now=now,
        profile=asked.profile,
    )
    return account_fields(account)


def account_fields(account: Account) -> dict[str, Any]:
    """Return an account as commands tell of it."""
    found: dict[str, Any] = msgspec.to_builtins(account)
    return {"account_id": found.pop("id"), **found, "profile": account.profile or PROFILE_OF[account.kind]}


def _guarded(account: Account) -> bool:
    return account.hierarchy == Hierarchy.PRODUCTION


def _look_at_suspended(_home: Home, connection: Connection, asked: OfAccount, _now: datetime) -> Seen:
    account = register.find(connection, asked.account)
    after = {"account": account.id, "name": account.name, "state": register.State.ACTIVE}
    return Seen({**after, "state": account.state}, after, account.id, guarded=_guarded(account))


def _resume(home: Home, connection: Connection, asked: OfAccount, now: datetime) -> Any:
    return account_fields(onboarding.change_state(connection, home.chain, asked.account, register.State.ACTIVE, now))


def _look_at_policy(_home: Home, connection: Connection, asked: SetPolicy, _now: datetime) -> Seen:
    account = register.find(connection, asked.account)
    document, _ = register.policy_document(connection, asked.account)
    before, after = ({"account": account.id, "name": account.name, "policy": one} for one in (document, asked.document))
    return Seen(before, after, account.id, guarded=_guarded(account))


def _set_policy(home: Home, connection: Connection, asked: SetPolicy, now: datetime) -> Any:
    version = onboarding.set_policy(connection, home.chain, asked.account, asked.document, now)
    return {"account_id": asked.account, "version": version}


def mechanism_fields(mechanism: Mechanism) -> dict[str, Any]:
    """Return a verification mechanism as commands tell of it."""
    found: dict[str, Any] = msgspec.to_builtins(mechanism)
    return {"mechanism_id": found.pop("id"), **found}


def _look_at_mechanism(_home: Home, connection: Connection, asked: OfMechanism, _now: datetime) -> Seen:
    found = mechanisms.find(connection, asked.mechanism)
    account = register.find(connection, found.account_id)
    after = {"account": account.name, **mechanism_fields(found), "state": mechanisms.State.APPROVED}
    return Seen({**after, "state": found.state}, after, account.id, guarded=_guarded(account))


def _approve_mechanism(home: Home, connection: Connection, asked: OfMechanism, now: datetime) -> Any:
    return mechanism_fields(decisions.approve(connection, home.chain, asked.mechanism, now))


def _resume_mechanism(home: Home, connection: Connection, asked: OfMechanism, now: datetime) -> Any:
    return mechanism_fields(decisions.resume(connection, home.chain, asked.mechanism, now))


# Authorities -------------------------------------------------------------------------------------


def _look_at_certificate(home: Home, connection: Connection, asked: RevokeCertificate, _now: datetime) -> Seen:
    standing = certificates.find(connection, asked.issuer, asked.serial)
    if standing is None:
        raise ContentRefused("There is no such certificate.", {"serial": "unknown to this issuer"})
    before = {
        "issuer": asked.issuer,
        "serial": asked.serial,
        "subject": standing.subject,
        "profile": standing.profile,
        "state": str(standing.state),
    }
    after = {**before, "state": "revoked", "reason": asked.reason}
    return Seen(before, after, guarded=not home.roster().member(asked.issuer).test)


def _revoke(home: Home, connection: Connection, asked: RevokeCertificate, now: datetime) -> Any:
    return onboarding.revoke_certificate(connection, home.chain, asked.issuer, asked.serial, asked.reason, now)


def _look_at_list(home: Home, connection: Connection, asked: ImportList, _now: datetime) -> Seen:
    try:
        crl = x509.load_der_x509_crl(asked.crl)
        entries = sorted(certificates.serial_text(one.serial_number) for one in crl)
        after = {"issuer": crl.issuer.rfc4514_string(), "until": crl.next_update_utc, "revoked": entries}
    except ValueError as error:
        raise Malformed("This is not a certificate revocation list in DER.", {"crl": str(error)}) from error
    latest = certificates.latest_list(connection, asked.name)
    before = None if latest is None else {"number": latest.number, "until": latest.next_update}
    after["sha256"] = hashlib.sha256(asked.crl).hexdigest()
    guarded = not home.roster().member(asked.name).test
    return Seen(msgspec.to_builtins(before), msgspec.to_builtins(after), guarded=guarded)


def _import(home: Home, asked: ImportList, now: datetime) -> Any:
    taken = import_list(home, asked.name, asked.crl, now)
    return {"name": asked.name, "number": taken.number, "next_update": taken.next_update}


def _look_at_member(home: Home, _connection: Connection, asked: RenewMember, _now: datetime) -> Seen:
    roster = home.roster()
    member = roster.member(asked.name)
    if asked.certificate is None and asked.name not in renewable(roster):
        raise ContentRefused("This cannot be renewed here.", {"name": f"one of {', '.join(renewable(roster))}"})
    if asked.certificate is not None and member.profile not in {"tsa", "ocsp"}:
        raise ContentRefused("A CA comes in by a ceremony.", {"name": "no TSA or responder"})
    held = home.certificate(asked.name)
    before = _certificate(asked.name, held)
    after = {"member": asked.name, "certificate": "a new one here, for the same key and name"}
    if asked.certificate is not None:
        after = _certificate(asked.name, _read_certificate(asked.certificate))
    return Seen(before, after, guarded=not member.test)


def _certificate(member: str, certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "member": member,
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": certificates.serial_text(certificate.serial_number),
        "not_after": str(certificate.not_valid_after_utc),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _read_certificate(text: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError as error:
        raise Malformed("This is not a certificate in PEM.", {"certificate": str(error)}) from error


def _renew(home: Home, asked: RenewMember, now: datetime) -> Any:
    if asked.certificate is None:
        renewed = renew(home, asked.name, now)
    else:
        renewed = _read_certificate(asked.certificate)
        install_renewal(home, asked.name, renewed, now)
    return {"name": asked.name, "not_after": renewed.not_valid_after_utc}


def _look_at_ceremony(_home: Home, _connection: Connection, asked: HoldCeremony, _now: datetime) -> Seen:
    return Seen(None, {"script": asked.script, "title": asked.title})


def _allow(home: Home, connection: Connection, asked: HoldCeremony, now: datetime) -> Any:
    event = Event(now, "ceremony.allowed", reference=asked.script, details={"title": asked.title})
    home.chain.append(connection, [event])
    return {"script": asked.script}


# People ------------------------------------------------------------------------------------------


def _look_at_person(home: Home, connection: Connection, asked: Enrolment, now: datetime) -> Seen:
    return Seen(None, look_at_enrolment(home, connection, asked, now), asked.account)


def _look_at_leaving(_home: Home, connection: Connection, asked: Removal, now: datetime) -> Seen:
    before, after = look_at_removal(connection, asked, now)
    return Seen(before, after)


def _set_it(asked: SetPolicy, done: Done) -> bool:
    return bool(done.details.get("sha256") == onboarding.policy_hash(asked.document))


def _took_list(asked: ImportList, done: Done) -> bool:
    if done.kind == "certificate.revoked":
        return bool(done.details.get("issuer") == asked.name)
    digest = hashlib.sha256(asked.crl).hexdigest()
    return bool(done.reference == asked.name and done.details.get("sha256") == digest)


def _revoked_it(asked: RevokeCertificate, done: Done) -> bool:
    return bool(done.reference == asked.serial and done.details.get("issuer") == asked.issuer)


def _renewed_it(asked: RenewMember, done: Done) -> bool:
    return bool(done.details.get("member") == asked.name)


def _took_in(asked: Enrolment, done: Done) -> bool:
    told = done.details
    same = told.get("name") == asked.name and told.get("account") == asked.account and done.reference == told["person"]
    key = b64encode(encoded(read_key(asked.csr))).decode("ascii")
    return bool(same and set(told.get("roles", ())) == set(asked.roles) and told.get("key") == key)


_IN_ACCOUNTS = says("name", "kind", "hierarchy", "organization", "country", "quotas", "profile")

ACTS: Mapping[str, Act] = {
    "account.create": Act(CreateAccount, _look_at_new, _IN_ACCOUNTS, inside=_create),
    "account.resume": Act(OfAccount, _look_at_suspended, says(), inside=_resume),
    **PROFILE_ACTS,
    **RETENTION_ACTS,
    **RATE_ACTS,
    "policy.set": Act(SetPolicy, _look_at_policy, _set_it, inside=_set_policy),
    "mechanism.approve": Act(OfMechanism, _look_at_mechanism, to("mechanism"), inside=_approve_mechanism),
    "mechanism.resume": Act(OfMechanism, _look_at_mechanism, to("mechanism"), inside=_resume_mechanism),
    "authority.revoke": Act(RevokeCertificate, _look_at_certificate, _revoked_it, inside=_revoke),
    "authority.import-crl": Act(ImportList, _look_at_list, _took_list, outside=_import),
    "authority.renew": Act(RenewMember, _look_at_member, _renewed_it, outside=_renew),
    "authority.ceremony": Act(HoldCeremony, _look_at_ceremony, to("script"), inside=_allow),
    "staff.enrol": Act(Enrolment, _look_at_person, _took_in, outside=enrol),
    "staff.remove": Act(Removal, _look_at_leaving, to("person"), inside=remove),
}


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as parameters hold it."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
