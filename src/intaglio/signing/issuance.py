"""The durable moments of identities: serial numbers reserved ahead, and what was made, for many at once."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import quota, sandbox
from intaglio.accounts.quota import Resource
from intaglio.accounts.sandbox import Sandbox
from intaglio.accounts.verification.evidence import keep
from intaglio.accounts.verification.proof import Proof, refusal, use
from intaglio.clock import Clock
from intaglio.database.ahead import Ahead
from intaglio.database.commits import Commits
from intaglio.errors import Conflict, IntaglioError, StoreUnavailable
from intaglio.keys import register as keys
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki.issuer import new_serials
from intaglio.revocation import register as certificates
from intaglio.signing import register
from intaglio.signing.register import Identity


class Issued(msgspec.Struct, frozen=True):
    """An identity whose certificate is signed and not yet given to anybody; `at` is the time of its record.

    `sandbox` is by whose clock it was made, for accounts of test.
    `proof` is the token by which its subject was verified, if one was needed.
    """

    identity: Identity
    certificate: certificates.Issued
    event: Event
    at: datetime
    sandbox: Sandbox | None = None
    proof: Proof | None = None


class Issuance:
    """Reserves serial numbers and writes identities; an exception of one of many has each tried on its own."""

    def __init__(self, chain: Chain, commits: Commits, clock: Clock) -> None:
        self._chain = chain
        self._commits = commits
        self._clock = clock
        self._serials = Ahead(self._reserve)

    async def serial(self, issuer: str) -> int:
        """Return a serial number of an issuer that is on record, and nobody else has; raises `StoreUnavailable`."""
        found = await self._serials.take(issuer)
        if found is None:
            raise StoreUnavailable(f"no serial number of {issuer} could be reserved")
        return found

    async def _reserve(self, issuer: str, most: int) -> list[int]:
        now = self._clock.now()
        serials = new_serials(now, most)
        await self._commits.write(lambda connection: certificates.reserve(connection, issuer, serials, now))
        return serials

    def record(self, connection: Connection, wanted: Sequence[Issued]) -> list[IntaglioError | None]:
        """Spend token and quota and write certificate, identity and entry of each; answer None, or the refusal."""
        moved = [None if one.sandbox is None else _moved(connection, one, one.sandbox) for one in wanted]
        if any(moved):
            rest = iter(
                self.record(connection, [one for one, refused in zip(wanted, moved, strict=True) if refused is None])
            )
            return [one or next(rest) for one in moved]
        refusals: list[IntaglioError | None]
        beside: set[bytes] = set()
        refusals = [None if one.proof is None else refusal(connection, one.proof, one.at, beside) for one in wanted]
        places = [place for place, refused in enumerate(refusals) if refused is None]
        accounts = [wanted[place].identity.account_id for place in places]
        for place, spent in zip(places, quota.spend(connection, Resource.IDENTITIES, accounts), strict=True):
            refusals[place] = spent
        granted = [one for one, refused in zip(wanted, refusals, strict=True) if refused is None]
        if granted:
            ends = [(one.identity.id, one.at, one.identity.not_after) for one in granted]
            keys.certify(connection, ends)
            certificates.issued_all(connection, [one.certificate for one in granted])
            register.add(connection, [one.identity for one in granted])
            for one in granted:
                if one.proof is not None:
                    identity = one.identity
                    use(connection, one.proof)
                    keep(connection, identity.id, identity.account_id, one.proof.evidence, one.proof.erase_at)
            self._chain.append(connection, [one.event for one in granted])
        return refusals


def _moved(connection: Connection, one: Issued, made_by: Sandbox) -> Conflict | None:
    """Return the refusal of an identity begun before its account's clock was set, which would live for too long."""
    found = sandbox.find(connection, one.identity.account_id)
    if (found.ahead, found.era) == (made_by.ahead, made_by.era):
        return None
    return Conflict("The account's clock was set meanwhile: try again.", {"clock": "was set meanwhile"})
