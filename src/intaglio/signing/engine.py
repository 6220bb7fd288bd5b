"""The parts that the use cases work with, put together by the composition root."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Connection

from intaglio.accounts import quota
from intaglio.accounts.quota import Resource
from intaglio.accounts.rates import Limits, Rate
from intaglio.accounts.sessions import Caller
from intaglio.accounts.verification.proof import Prover
from intaglio.clock import Clock
from intaglio.clock.trust import Trust
from intaglio.database.commits import Commits
from intaglio.database.job import Batch
from intaglio.errors import IntaglioError, IssuanceRefused, KeyUnavailable
from intaglio.keys.algorithm import PrivateKey
from intaglio.keys.custody import Form, IdentityCustody, SealedKey
from intaglio.keys.lanes import Lanes
from intaglio.keys.live import LiveKeys
from intaglio.keys.pool import Pool
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki.hierarchy import Family, Hierarchy
from intaglio.pki.issuer import Issuer
from intaglio.revocation.answers import Answers
from intaglio.revocation.ocsp import Responder
from intaglio.signing.issuance import Issuance
from intaglio.signing.stamps import Stamps
from intaglio.timestamping.authority import Authority

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")


class Spent(msgspec.Struct, frozen=True):
    """What is to be spent, and the entry that says on what."""

    resource: Resource
    account_id: str
    event: Event
    rate: Rate


class Spending:
    """Quota spent and entry written in one transaction, for many requests at once."""

    def __init__(self, chain: Chain, limits: Limits, stamps: Stamps) -> None:
        self._chain = chain
        self._limits = limits
        self._stamps = stamps

    def spend(self, connection: Connection, wanted: Sequence[Spent]) -> list[IntaglioError | None]:
        """Spend for each in order; answer None, or the refusal, for each. A refused one leaves no entry here."""
        outcomes: list[IntaglioError | None] = [None] * len(wanted)
        for resource in sorted({one.resource for one in wanted}):
            places = [place for place, one in enumerate(wanted) if one.resource == resource]
            asked = [(wanted[place].account_id, wanted[place].rate) for place in places]
            now = max(wanted[place].event.at for place in places)
            refusals = quota.spend(connection, resource, asked, now, self._limits)
            for place, refusal in zip(places, refusals, strict=True):
                outcomes[place] = refusal
        self._chain.append(
            connection, [one.event for one, refusal in zip(wanted, outcomes, strict=True) if refusal is None]
        )
        return outcomes

    def stamp(self, connection: Connection, wanted: Sequence[Spent | Event]) -> list[IntaglioError | datetime]:
        """Do the same for time-stamps, of an account or of nobody's; answer the time that each is to tell."""
        times = [(one.event if isinstance(one, Spent) else one).at for one in wanted]
        outcomes: list[IntaglioError | datetime] = list(self._stamps.tell(connection, times))
        granted = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, datetime)]
        spent = [(place, one) for place in granted if isinstance(one := wanted[place], Spent)]
        if spent:
            refusals = self.spend(connection, [one for _, one in spent])
            for (place, _), refusal in zip(spent, refusals, strict=True):
                outcomes[place] = refusal or outcomes[place]
        nobodys = [one for place in granted if isinstance(one := wanted[place], Event)]
        if nobodys:
            self._chain.append(connection, nobodys)
        return outcomes


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything that signing needs, each part concrete.

    `families`, `revoked` and the mappings from names change while the service runs, when the hierarchy does; `revoked`
    are the members whose own certificates are, `above` is the issuer of each.
    """

    clock: Clock
    trust: Trust
    commits: Commits
    chain: Chain
    spending: Spending
    stamps: Stamps
    limits: Limits
    failed_logins: Rate
    issuance: Issuance
    pool: Pool
    custodies: Mapping[Form, IdentityCustody]
    live: LiveKeys
    lanes: Lanes
    families: Mapping[Hierarchy, Family]
    revoked: AbstractSet[str]
    above: Mapping[str, str]
    issuers: Mapping[str, Issuer]
    responders: Mapping[str, Responder]
    authorities: Mapping[str, Authority]
    answers: Answers
    prover: Prover

    def admit(self, caller: Caller, resource: Resource, now: datetime) -> Rate:
        """Return the rate at which a caller may have a resource; raises `RateLimited` if this one comes too early."""
        rate = caller.rates[resource]
        self.limits.admit(caller.account.id, resource, rate, now)
        return rate

    async def undo(self, spent: Spent, kind: str, error: Exception) -> None:
        """Give back what was spent on something that then failed, and record the failure as `kind`."""

        def give_back(connection: Connection) -> None:
            quota.give_back(connection, spent.resource, spent.account_id)

        await self.record_failure(spent.event, kind, error, give_back)

    async def record_failure(
        self, event: Event, kind: str, error: Exception, also: Callable[[Connection], None] = lambda _: None
    ) -> None:
        """Record that what `event` says was begun has failed; do `also` in the same transaction."""
        failure = msgspec.structs.replace(
            event, at=self.clock.now(), kind=kind, details={**event.details, "error": type(error).__name__}
        )

        def write(connection: Connection) -> None:
            also(connection)
            self.chain.append(connection, [failure])

        await asyncio.shield(self.commits.write(write))

    async def beside(
        self, batch: Batch[A, Any], argument: A, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        """Do `work` in another thread while `batch` is committed for `argument`; return it when both are done.

        Raises what refused the commit; whether `work` failed is told by its future.
        """
        done = self.lanes.submit(work, *args, **kwargs)
        try:
            await self.commits.together(batch, argument, beside=done)
        except BaseException:
            done.cancel()
            raise
        return done

    def issuing(self, hierarchy: Hierarchy) -> str:
        """Return the CA that issues for a hierarchy; raises `IssuanceRefused` while there is none that may."""
        return self._serving(hierarchy, self.families.get(hierarchy, Family()).issuing, "issuing CA")

    def stamping(self, hierarchy: Hierarchy) -> str:
        """Return the TSA of a hierarchy; raises `IssuanceRefused` while there is none that may."""
        return self._serving(hierarchy, self.families.get(hierarchy, Family()).tsa, "TSA")

    def _serving(self, hierarchy: Hierarchy, name: str | None, role: str) -> str:
        if name is None:
            raise IssuanceRefused(f"no {role} is active for {hierarchy}: see docs/operate/authorities.md")
        if name in self.revoked:
            raise IssuanceRefused(f"the {role} {name} is revoked, and no other is active for {hierarchy}")
        return name

    def custody(self, form: Form) -> IdentityCustody:
        """Return where keys of `form` are; raises `KeyUnavailable` when this process has no way there."""
        found = self.custodies.get(form)
        if found is None:
            raise KeyUnavailable(f"keys of the form {form} need a token, and none is configured")
        return found

    def open_key(self, key: SealedKey) -> PrivateKey:
        """Return an identity's private key, ready to sign; raises `KeyUnavailable`."""
        return self.custody(key.form).open(key)
