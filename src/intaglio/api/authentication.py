"""Who calls: the client certificate of the connection, and the token of the request."""

from typing import Any

from intaglio.accounts.credentials import ClientCertificate
from intaglio.accounts.sessions import Caller
from intaglio.api.peer import CLIENT_CERTIFICATE, PeerCertificate
from intaglio.errors import TokenMissing, Unauthenticated
from intaglio.service.composition import Service


async def certificate(service: Service, scope: Any) -> ClientCertificate:
    """Return the register's entry of the client certificate; raises `Unauthenticated`."""
    shown = scope["extensions"][CLIENT_CERTIFICATE]
    peer: PeerCertificate | None = shown["certificate"]
    if peer is None:
        raise Unauthenticated("A client certificate is required.", {"client_certificate": shown["fault"]})
    found = await service.sessions.certificate(peer.der, peer.sha256)
    # Known from here on: a refusal is recorded under the account.
    scope["state"]["account"] = found.account_id
    service.sessions.check_certificate(found, service.engine.clock.now())
    return found


async def caller(service: Service, scope: Any) -> Caller:
    """Return who calls, by certificate and token; raises `Unauthenticated` or `AccountNotActive`."""
    presented = await certificate(service, scope)
    sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    scheme, _, token = sent.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenMissing("A bearer token is required.", {"authorization": 'must be "Bearer" and a token'})
    return await service.sessions.caller(token.strip(), presented, service.engine.clock.now())
