"""Use case: the chain of trust of an account's certificates, with the status that makes signatures last."""

from datetime import datetime, timedelta

import msgspec
from cryptography import x509

from intaglio.accounts.sessions import Caller
from intaglio.errors import IssuanceRefused
from intaglio.pki.profiles import LONGEST_SIGNING
from intaglio.signing import register
from intaglio.signing.engine import Engine

# Until every process knows who serves now.
_LAG = timedelta(minutes=1)


class Trust(msgspec.Struct, frozen=True):
    """`certificates` issuers first, root last; `ocsp_responses` DER, about the issuing CA, the TSA, and other CAs."""

    certificates: list[x509.Certificate]
    ocsp_responses: list[bytes]


async def certificate_path(engine: Engine, caller: Caller) -> list[x509.Certificate]:
    """Return what stands between a signing certificate and the root, the issuer first."""
    names = await _issuing(engine, caller, engine.clock.now())
    return [engine.responders[name].issuer for name in names]


async def chain_of_trust(engine: Engine, caller: Caller) -> Trust:
    """Return the chain and the signed status of every certificate in it, and of the TSA."""
    now = engine.clock.now()
    names = await _issuing(engine, caller, now)
    tsa = engine.families[caller.account.hierarchy].tsa
    roots = list(dict.fromkeys(engine.above[name] for name in names))
    # The root of the first issuer comes last: that is the one to trust for the identity at hand.
    chain = [*names, *reversed(roots)]
    told = [(name, engine.responders[name].issuer) for name in names]
    if tsa is not None:
        told.insert(1, (tsa, engine.authorities[tsa].certificate))
    time = caller.time(now)
    responses = [
        await engine.answers.status(engine.above[name], one.serial_number, time, apart=time != now)
        for name, one in told
    ]
    return Trust([engine.responders[name].issuer for name in chain], responses)


async def _issuing(engine: Engine, caller: Caller, now: datetime) -> list[str]:
    """Return the issuing CAs that the caller's identities may be under, the likeliest first.

    That is the one that serves, except for ten minutes after another served: a caller with identities under the one
    before is given both, that of the newest identity first. Clients take the first as the issuer of what they made
    last, and a further certificate beside it does no harm.
    """
    family = engine.families.get(caller.account.hierarchy)
    if family is None or family.issuing is None:
        raise IssuanceRefused(f"no issuing CA is active for {caller.account.hierarchy}")
    serving = family.issuing
    if family.since is None or family.before is None or now > family.since + LONGEST_SIGNING + _LAG:
        return [serving]
    live = await engine.commits.read(lambda c: register.latest_issuers(c, caller.account.id, now))
    known = [name for name in live if name in {serving, family.before} - engine.revoked]
    return list(dict.fromkeys([*known, serving]))
