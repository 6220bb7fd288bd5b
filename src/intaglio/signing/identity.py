"""Use case: create an identity, that is a key that lives ten minutes and a certificate for it."""

import asyncio
from typing import Any

import msgspec
from cryptography import x509
from sqlalchemy import Connection

from intaglio.accounts import quota
from intaglio.accounts.kinds import Kind
from intaglio.accounts.policy import Certified, apply
from intaglio.accounts.quota import Resource
from intaglio.accounts.register import new_id
from intaglio.accounts.sessions import Caller
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.ledger.entry import Event
from intaglio.pki.hierarchy import FAMILIES
from intaglio.pki.issuer import Extensions
from intaglio.pki.subject import alternatives, directory_attributes, name
from intaglio.revocation import ocsp
from intaglio.revocation import register as certificates
from intaglio.signing import register
from intaglio.signing.engine import Engine

_PROFILES = {
    Kind.PARTNER: "signing-seal",
    Kind.ORGANIZATION: "signing-seal",
    Kind.EMPLOYEE: "signing-person",
    Kind.INDIVIDUAL: "signing-person",
}


class NewIdentity(msgspec.Struct, frozen=True):
    """What the caller gets: `ocsp_response` is DER."""

    id: str
    certificate: x509.Certificate
    ocsp_response: bytes


async def create_identity(engine: Engine, caller: Caller, request: Any, request_id: str) -> NewIdentity:
    """Create an identity for the caller's account from a decoded JSON request.

    1. the policy is applied; 2. a key is made; 3. the time is taken, once and after the key exists;
    4. the certificate is prepared; 5. the intention is durable; 6. the certificate is issued;
    7. so is an OCSP response about it; 8. certificate, identity and entry are durable.
    Raises `Malformed` or `ContentRefused` naming every field, or a `ServiceFault`.
    """
    account = caller.account
    issuer_name = FAMILIES[account.hierarchy].issuing
    issuer = engine.issuers[issuer_name]
    # 1
    certified = apply(caller.policy, request, today=engine.clock.now().date())
    # 2
    key = await engine.in_thread(engine.custody.generate, KeyAlgorithm.RSA_2048)
    # 3
    now = engine.clock.now()
    # 4
    prepared = issuer.prepare(
        _PROFILES[account.kind],
        subject=name(certified.subject),
        public_key=key.public_key(),
        now=now,
        extensions=_extensions(certified),
    )
    # 5
    await engine.commits.write(lambda connection: certificates.plan(connection, prepared, account.id))
    # 6, 7
    certificate = await engine.in_thread(issuer.issue, prepared)
    responder = engine.responders[issuer_name]
    good = [ocsp.Answer(ocsp.cert_id(responder.issuer, prepared.serial), prepared.not_after)]
    response = await engine.in_thread(responder.sign, good, prepared.not_before)
    # 8
    identity_id = new_id()
    sealed = engine.custody.seal(key, identity_id)
    serial = certificates.serial_text(prepared.serial)
    identity = register.Identity(
        id=identity_id,
        account_id=account.id,
        issuer=issuer_name,
        serial=serial,
        algorithm=KeyAlgorithm.RSA_2048,
        sealed_key=sealed,
        created_at=now,
        not_after=prepared.not_after,
    )
    event = Event(
        at=now,
        kind="identity.created",
        account_id=account.id,
        reference=identity_id,
        request_id=request_id,
        details={
            "issuer": issuer_name,
            "serial": serial,
            "profile": prepared.profile,
            "subject": prepared.subject.rfc4514_string(),
            "not_before": prepared.not_before,
            "not_after": prepared.not_after,
            "credential": caller.credential_id,
        },
    )

    def record(connection: Connection) -> None:
        certificates.issued(connection, issuer_name, certificate)
        register.add(connection, identity)
        refusal = quota.spend(connection, Resource.IDENTITIES, [account.id])[0]
        if refusal is not None:
            raise refusal
        engine.chain.append(connection, [event])

    await asyncio.shield(engine.commits.write(record))
    engine.live.put(f"{account.id}/{identity_id}", key, prepared.not_after, engine.live.generation)
    return NewIdentity(identity_id, certificate, response)


def _extensions(certified: Certified) -> Extensions:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if certified.directory is not None:
        found.append((directory_attributes(certified.directory), False))
    if certified.alternatives is not None:
        found.append((alternatives(certified.alternatives), False))
    return found
