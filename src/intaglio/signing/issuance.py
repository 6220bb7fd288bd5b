"""The durable moments of identities: serial numbers reserved ahead, and what was made, for many at once."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import quota, sandbox
from intaglio.accounts.quota import Resource
from intaglio.accounts.rates import Limits, Rate
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
from intaglio.pki.issuer import drawn_from, new_serials
from intaglio.revocation import register as certificates
from intaglio.signing import register
from intaglio.signing.register import Identity

# Long before a number that waits could be archived (settings: at least two days).
_LONGEST_HELD = timedelta(days=1)


class Issued(msgspec.Struct, frozen=True):
    """An identity whose certificate is signed and not yet given to anybody; `at` is the time of its record.

    `sandbox` is by whose clock it was made, for accounts of test.
    `proof` is the token by which its subject was verified, if one was needed.
    """

    identity: Identity
    certificate: certificates.Issued
    event: Event
    at: datetime
    rate: Rate
    sandbox: Sandbox | None = None
    proof: Proof | None = None


class Issuance:
    """Reserves serial numbers and writes identities; an exception of one of many has each tried on its own."""

    def __init__(self, chain: Chain, commits: Commits, clock: Clock, limits: Limits) -> None:
        self._chain = chain
        self._limits = limits
        self._commits = commits
        self._clock = clock
        self._serials = Ahead(self._reserve, self._fresh)

    async def serial(self, issuer: str) -> int:
        """Return a serial number of an issuer that is on record, and nobody else has; raises `StoreUnavailable`."""
        found = await self._serials.take(issuer)
        if found is None:
            raise StoreUnavailable(f"no serial number of {issuer} could be reserved")
        return found

    def _fresh(self, serial: int) -> bool:
        """Return whether a serial number has not waited for so long that it may be archived as never used."""
        return serial > drawn_from(self._clock.now() - _LONGEST_HELD)

    async def _reserve(self, issuer: str, most: int) -> list[int]:
        now = self._clock.now()
        serials = new_serials(now, most)
        await self._commits.write(lambda connection: certificates.reserve(connection, issuer, serials, now))
        return serials

    def record(self, connection: Connection, wanted: Sequence[Issued]) -> list[IntaglioError | None]:
        """Spend token and quota and write certificate, identity and entry of each; answer None, or the refusal."""
        refusals = _moved(connection, wanted)
        beside: set[bytes] = set()
        for place, one in enumerate(wanted):
            if refusals[place] is None and one.proof is not None:
                refusals[place] = refusal(connection, one.proof, one.at, beside)
        places = [place for place, refused in enumerate(refusals) if refused is None]
        accounts = [(wanted[place].identity.account_id, wanted[place].rate) for place in places]
        now = max(one.at for one in wanted)
        spent = quota.spend(connection, Resource.IDENTITIES, accounts, now, self._limits)
        for place, refused in zip(places, spent, strict=True):
            refusals[place] = refused
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


def _moved(connection: Connection, wanted: Sequence[Issued]) -> list[IntaglioError | None]:
    """Refuse what was begun before its account's clock was set, which would live for too long; None for the others."""
    of_tests = {one.identity.account_id for one in wanted if one.sandbox is not None}
    stand = {account_id: sandbox.clock(connection, account_id) for account_id in of_tests}
    return [
        None
        if one.sandbox is None or stand[one.identity.account_id] == (one.sandbox.ahead, one.sandbox.era)
        else Conflict("The account's clock was set meanwhile: try again.", {"clock": "was set meanwhile"})
        for one in wanted
    ]
