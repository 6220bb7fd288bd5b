"""Use case: create an identity, that is a key that lives ten minutes and a certificate for it."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import msgspec

from intaglio.accounts.certified import apply
from intaglio.accounts.quota import Resource
from intaglio.accounts.sandbox import Failure
from intaglio.accounts.sessions import Caller
from intaglio.accounts.verification.presented import NOTHING, Presented, look
from intaglio.accounts.verification.proof import Proof, details
from intaglio.accounts.verification.register import Depth, needed
from intaglio.errors import IntaglioError, IssuanceRefused, RuleBroken, StoreUnavailable
from intaglio.keys.algorithm import PrivateKey
from intaglio.keys.custody import SealedKey
from intaglio.ledger.entry import Event
from intaglio.pki.issuer import Prepared
from intaglio.pki.lint import Accreditation
from intaglio.pki.subject import name
from intaglio.revocation import ocsp
from intaglio.revocation import register as certificates
from intaglio.signing import register
from intaglio.signing.engine import Engine
from intaglio.signing.forced import check_means, check_rate, to_fail
from intaglio.signing.issuance import Issued

# How often a request is begun with before it is refused.
_TIMES = 5
# Certificate and OCSP response, DER, and the identity's key, opened.
Signed = tuple[bytes, bytes, PrivateKey]


class NewIdentity(msgspec.Struct, frozen=True):
    """What the caller gets: certificate and OCSP response are DER."""

    id: str
    certificate: bytes
    ocsp_response: bytes


class _Outdated(Exception):
    """Something administrative changed while a request waited: its caller may not be who it was."""


async def create_identity(
    engine: Engine,
    caller: Caller,
    request: Any,
    request_id: str,
    presented: Presented = NOTHING,
    again: Callable[[], Awaitable[Caller]] | None = None,
) -> NewIdentity:
    """Create an identity for the caller's account from a decoded JSON request.

    1. the policy is applied, and it is looked at by what the subject was verified; 2. a key is taken from the pool,
    3. and a serial number that is on record; 4. the time is taken, once and after the key exists; 5. the certificate is
    prepared; 6. it is issued; 7. so is an OCSP response about it; 8. certificate, identity and entry are durable.
    What had to be waited for is begun with `again`, which tells the caller anew, if anything changed meanwhile.
    Who is too fast is refused before all that, and in 8 if it was elsewhere.
    Raises `RateLimited`, `Malformed` or `ContentRefused` naming every field, `NotVerified`, or a `ServiceFault`; a rule
    for what is signed that would be broken is recorded.
    """
    engine.admit(caller, Resource.IDENTITIES, engine.clock.now())
    try:
        for _ in range(_TIMES):
            with suppress(_Outdated):
                return await _create(engine, caller, request, request_id, presented, once=again is None)
            if again is not None:
                caller = await again()
        raise StoreUnavailable("too much changed while the request waited")
    except RuleBroken as error:
        profile = caller.policy.profile
        broken = {"rule": error.rule, "reason": error.reason, "profile": profile.name, "version": profile.version}
        event = Event(engine.clock.now(), "lint.refused", caller.account.id, profile.name, request_id, broken)
        await asyncio.shield(engine.commits.write(lambda connection: engine.chain.append(connection, [event])))
        raise


async def _create(
    engine: Engine, caller: Caller, request: Any, request_id: str, presented: Presented, *, once: bool
) -> NewIdentity:
    account = caller.account
    if caller.forced:
        await check_rate(engine, caller, Resource.IDENTITIES, request_id)
    # Should the issuer be revoked meanwhile, the key does not stay in memory, past the register that knows of it.
    generation = engine.live.generation
    answering = engine.answers.generation
    issuer_name = engine.issuing(account.hierarchy)
    issuer = engine.issuers[issuer_name]
    if caller.stop is not None:
        raise IssuanceRefused(f"the profile {caller.stop.name} is stopped: it breaks {caller.stop.rule}")
    begun = engine.clock.now()
    # Before a key is taken that nothing will be certified for.
    engine.trust.check(begun, coarse=True)
    # 1
    certified = apply(caller.policy, request, today=caller.time(begun).date())
    certified.check_signature(issuer.signs_with)
    mechanism = look(caller.mechanisms, presented, engine.clock.now(), needed=needed(account))
    proof = None
    if mechanism is not None and mechanism.depth == Depth.PROVEN:
        proof = await engine.prover.prove(account, caller.policy, mechanism, presented, certified)
    unknown = False
    if caller.forced:
        await check_means(engine, caller, Resource.IDENTITIES, request_id)
        unknown = await to_fail(engine, caller, Failure.OCSP_UNKNOWN, Resource.IDENTITIES, request_id)
    # 2
    sealed = await engine.pool.take(caller.policy.algorithm)
    # 3
    serial = await engine.issuance.serial(issuer_name)
    if engine.live.generation != generation and not once:
        raise _Outdated
    # 4
    now = engine.clock.now()
    engine.trust.check(now, coarse=True)
    # What is certified is in the account's time; what is kept, in real time.
    time = caller.time(now)
    # 5
    prepared = issuer.prepare(
        caller.policy.profile,
        subject=name(certified.subject),
        public_key=sealed.public_key,
        now=time,
        extensions=certified.extensions(),
        serial=serial,
        lifetime=caller.policy.lifetime,
        accredited=caller.accredited(issuer_name, now) if caller.accreditations else Accreditation.NONE,
    )
    # Key and identity have one id: no key can serve two.
    identity = register.Identity(
        id=sealed.id,
        account_id=account.id,
        issuer=issuer_name,
        serial=certificates.serial_text(serial),
        algorithm=sealed.algorithm,
        created_at=now,
        not_after=prepared.not_after - (time - now),
    )
    event = Event(
        at=now,
        kind="identity.created",
        account_id=account.id,
        reference=identity.id,
        request_id=request_id,
        details={
            "issuer": issuer_name,
            "serial": identity.serial,
            "profile": prepared.profile,
            "profile_version": prepared.version,
            "subject": prepared.subject.text,
            "not_before": prepared.not_before,
            "not_after": prepared.not_after,
            "epoch": sealed.epoch,
            "credential": caller.credential_id,
            **({} if mechanism is None else {"verification": details(mechanism, presented, proof)}),
            **caller.beside(now),
        },
    )
    certificate, response, key = await _made(engine, caller, prepared, sealed, identity, event, proof, unknown=unknown)
    engine.answers.issued(prepared, response, answering)
    engine.live.put(f"{caller.owner}/{identity.id}", key, identity.not_after, generation)
    return NewIdentity(identity.id, certificate, response)


async def _made(
    engine: Engine,
    caller: Caller,
    prepared: Prepared,
    sealed: SealedKey,
    identity: register.Identity,
    event: Event,
    proof: Proof | None,
    *,
    unknown: bool,
) -> Signed:
    """Return what was signed (6, 7) once it is on record (8).

    The lane hands on to the committing thread by itself: the event loop is woken once and not twice, which would cost
    as much as a third of a signature.
    """
    loop = asyncio.get_running_loop()
    recorded: asyncio.Future[IntaglioError | None] = loop.create_future()

    def signed(done: Future[Signed]) -> None:
        try:
            certificate = certificates.Issued(prepared, event.details["subject"], identity.account_id, done.result()[0])
            # 8
            rate = caller.rates[Resource.IDENTITIES]
            issued = Issued(identity, certificate, event, engine.clock.now(), rate, caller.sandbox, proof)
            engine.commits.put(engine.issuance.record, issued, recorded)
        except BaseException as error:  # what signing raised, whatever it was: somebody waits for it
            loop.call_soon_threadsafe(_settle, recorded, error)

    signing = engine.lanes.submit(_issue, engine, prepared, sealed, known=not unknown)
    signing.add_done_callback(signed)
    await recorded
    return signing.result()


def _settle(recorded: asyncio.Future[IntaglioError | None], error: BaseException) -> None:
    if not recorded.done():
        # A library's panic is no `Exception`, and must not end the event loop.
        recorded.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))


def _issue(engine: Engine, prepared: Prepared, sealed: SealedKey, *, known: bool) -> Signed:
    """Issue, in one go of one lane; the key is opened here because it is about to sign, and so proven to open."""
    # 6
    certificate = engine.issuers[prepared.issuer].sign(prepared)
    responder = engine.responders[prepared.issuer]
    # 7
    told = [ocsp.Answer(responder.cert_id(prepared.serial), prepared.not_after, known=known)]
    return certificate, responder.sign(told, prepared.not_before), engine.open_key(sealed)
