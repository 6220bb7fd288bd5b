"""Use case: the chain of trust of an account's certificates, with the status that makes signatures last."""

import msgspec
from cryptography import x509

from intaglio.accounts.sessions import Caller
from intaglio.pki.hierarchy import FAMILIES
from intaglio.signing.engine import Engine


class Trust(msgspec.Struct, frozen=True):
    """`certificates` issuer first, root last; `ocsp_responses` DER, about the issuing CA and the TSA."""

    certificates: list[x509.Certificate]
    ocsp_responses: list[bytes]


def certificate_path(engine: Engine, caller: Caller) -> list[x509.Certificate]:
    """Return what stands between a signing certificate and the root."""
    issuing = engine.responders[FAMILIES[caller.account.hierarchy].issuing].issuer
    return [issuing]


async def chain_of_trust(engine: Engine, caller: Caller) -> Trust:
    """Return the chain and the signed status of every certificate in it, and of the TSA."""
    family = FAMILIES[caller.account.hierarchy]
    now = engine.clock.now()
    issuing = engine.responders[family.issuing].issuer
    root = engine.responders[family.root].issuer
    tsa = engine.authorities[family.tsa].certificate
    responses = [
        await engine.answers.status(family.root, certificate.serial_number, now) for certificate in (issuing, tsa)
    ]
    return Trust([issuing, root], responses)
