"""Use case: log in, that is exchange an API key and its secret for a token."""

from intaglio.accounts.credentials import ClientCertificate
from intaglio.accounts.quota import Resource
from intaglio.accounts.rates import network
from intaglio.accounts.sessions import Sessions
from intaglio.errors import Unauthenticated
from intaglio.ledger.entry import Event
from intaglio.signing.engine import Engine, Spent

_FAILED = "failed_logins"


async def log_in(
    engine: Engine,
    sessions: Sessions,
    api_key: str,
    api_secret: str,
    certificate: ClientCertificate,
    peer: str,
    request_id: str,
) -> str:
    """Return a new token, bound to the client certificate.

    1. who failed too often is refused; 2. key and secret are looked at, and that they failed is counted; 3. the
    account's rate is spent and the entry written, durably, in a commit shared with concurrent requests.
    A failure is counted for the certificate and the address it came from, never for the account: who has a stolen
    certificate and guesses cannot keep the account's own programs out.
    Raises `RateLimited`, `Unauthenticated` or `AccountNotActive`.
    """
    now = engine.clock.now()
    # 1
    source = f"{certificate.sha256}/{network(peer)}"
    engine.limits.check(source, _FAILED, engine.failed_logins, now)
    # 2
    try:
        token, caller = await sessions.login(api_key, api_secret, certificate, now)
    except Unauthenticated:
        engine.limits.admit(source, _FAILED, engine.failed_logins, now)
        raise
    # 3
    rate = engine.admit(caller, Resource.LOGINS, now)
    details = {"certificate": certificate.sha256, **caller.beside(now)}
    event = Event(now, "login.made", caller.account.id, caller.credential_id, request_id, details)
    await engine.commits.together(engine.spending.spend, Spent(Resource.LOGINS, caller.account.id, event, rate))
    return token
