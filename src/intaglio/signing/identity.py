"""Use case: create an identity, that is a key that lives ten minutes and a certificate for it."""

import asyncio
from typing import Any

import msgspec
from cryptography import x509

from intaglio.accounts.kinds import Kind
from intaglio.accounts.policy import Certified, apply
from intaglio.accounts.sessions import Caller
from intaglio.keys.algorithm import PrivateKey, public_key_of
from intaglio.keys.custody import SealedKey
from intaglio.ledger.entry import Event
from intaglio.pki.issuer import Extensions, Prepared
from intaglio.pki.subject import alternatives, directory_attributes, name
from intaglio.revocation import ocsp
from intaglio.revocation import register as certificates
from intaglio.signing import register
from intaglio.signing.engine import Engine
from intaglio.signing.issuance import Intended, Issued

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

    1. the policy is applied; 2. a key is taken from the pool; 3. the time is taken, once and after the key exists;
    4. the certificate is prepared; 5. the intention is durable; 6. the certificate is issued;
    7. so is an OCSP response about it; 8. certificate, identity and entry are durable.
    Raises `Malformed` or `ContentRefused` naming every field, or a `ServiceFault`.
    """
    account = caller.account
    issuer_name = engine.issuing(account.hierarchy)
    issuer = engine.issuers[issuer_name]
    # 1
    certified = apply(caller.policy, request, today=engine.clock.now().date())
    # 2
    sealed = await engine.pool.take(caller.policy.algorithm)
    # 3
    now = engine.clock.now()
    # 4
    prepared = issuer.prepare(
        _PROFILES[account.kind],
        subject=name(certified.subject),
        public_key=public_key_of(sealed.public_key),
        now=now,
        extensions=_extensions(certified),
    )
    # 5
    await engine.commits.together(engine.issuance.intend, Intended(prepared, account.id))
    # 6, 7
    certificate, response, key = await engine.lanes.run(_issue, engine, prepared, sealed)
    # 8
    serial = certificates.serial_text(prepared.serial)
    identity = register.Identity(
        # Key and identity have one id: no key can serve two.
        id=sealed.id,
        account_id=account.id,
        issuer=issuer_name,
        serial=serial,
        algorithm=sealed.algorithm,
        created_at=now,
        not_after=prepared.not_after,
    )
    event = Event(
        at=now,
        kind="identity.created",
        account_id=account.id,
        reference=identity.id,
        request_id=request_id,
        details={
            "issuer": issuer_name,
            "serial": serial,
            "profile": prepared.profile,
            "subject": prepared.subject.rfc4514_string(),
            "not_before": prepared.not_before,
            "not_after": prepared.not_after,
            "epoch": sealed.epoch,
            "credential": caller.credential_id,
        },
    )

    issued = Issued(identity, certificate, event, engine.clock.now())
    await asyncio.shield(engine.commits.together(engine.issuance.record, issued))
    engine.live.put(f"{account.id}/{identity.id}", key, prepared.not_after, engine.live.generation)
    return NewIdentity(identity.id, certificate, response)


def _issue(engine: Engine, prepared: Prepared, sealed: SealedKey) -> tuple[x509.Certificate, bytes, PrivateKey]:
    """Issue, in one go of one lane; the key is opened here because it is about to sign, and so proven to open."""
    certificate = engine.issuers[prepared.issuer].issue(prepared)
    responder = engine.responders[prepared.issuer]
    good = [ocsp.Answer(ocsp.cert_id(responder.issuer, prepared.serial), prepared.not_after)]
    return certificate, responder.sign(good, prepared.not_before), engine.open_key(sealed)


def _extensions(certified: Certified) -> Extensions:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if certified.directory is not None:
        found.append((directory_attributes(certified.directory), False))
    if certified.alternatives is not None:
        found.append((alternatives(certified.alternatives), False))
    return found
