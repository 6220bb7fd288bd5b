"""The two durable moments of an identity, for many at once: what is intended, and what was made."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography import x509
from sqlalchemy import Connection

from intaglio.accounts import quota
from intaglio.accounts.quota import Resource
from intaglio.errors import IntaglioError
from intaglio.keys import register as keys
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki.issuer import Prepared
from intaglio.revocation import register as certificates
from intaglio.signing import register
from intaglio.signing.register import Identity


class Intended(msgspec.Struct, frozen=True):
    """A certificate that is about to be signed for an account."""

    prepared: Prepared
    account_id: str


class Issued(msgspec.Struct, frozen=True):
    """An identity whose certificate is signed and not yet given to anybody; `at` is the time of its record."""

    identity: Identity
    certificate: x509.Certificate
    event: Event
    at: datetime


class Issuance:
    """Writes intentions and identities; an exception of one of many has each tried on its own by `Commits`."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def intend(self, connection: Connection, wanted: Sequence[Intended]) -> list[None]:
        """Write that these certificates will be signed."""
        certificates.plan_all(connection, [(one.prepared, one.account_id) for one in wanted])
        return [None] * len(wanted)

    def record(self, connection: Connection, wanted: Sequence[Issued]) -> list[IntaglioError | None]:
        """Spend quota and write certificate, identity and entry of each; answer None, or the refusal, for each."""
        refusals = quota.spend(connection, Resource.IDENTITIES, [one.identity.account_id for one in wanted])
        granted = [one for one, refusal in zip(wanted, refusals, strict=True) if refusal is None]
        if granted:
            ends = [(one.identity.id, one.at, one.identity.not_after) for one in granted]
            keys.certify(connection, ends)
            certificates.issued_all(connection, [(one.identity.issuer, one.certificate) for one in granted])
            register.add(connection, [one.identity for one in granted])
            self._chain.append(connection, [one.event for one in granted])
        return list(refusals)
