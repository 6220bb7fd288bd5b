"""Use case: find out by what a request's subject was verified, and by a token if the mechanism asks for one."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection

from intaglio.accounts.certified import Certified
from intaglio.accounts.policy import Policy
from intaglio.accounts.register import Account
from intaglio.accounts.verification import evidence, once, register, rule, token
from intaglio.accounts.verification.evidence import Evidence
from intaglio.accounts.verification.jwks import Keysets
from intaglio.accounts.verification.nonce import Nonces
from intaglio.accounts.verification.presented import Presented, not_usable
from intaglio.accounts.verification.register import Mechanism
from intaglio.clock import Clock
from intaglio.database.commits import Commits
from intaglio.errors import NotVerified, ProviderUnavailable
from intaglio.keys.sealing import SealingKey
from intaglio.ledger.writer import Chain
from intaglio.pki.hierarchy import Hierarchy

_log = logging.getLogger("intaglio.verification")

# Longer than any rule lets a token live, with what clocks may differ.
_REMEMBERED = timedelta(seconds=2 * 3600)


class Proof(msgspec.Struct, frozen=True):
    """A token that was verified under `mechanism`.

    `once` are the digests that may be used once, `until` how long that is watched. `evidence` is the token as it is
    kept, until `erase_at`.
    """

    mechanism: Mechanism
    issuer: str
    sha256: str
    mapping: dict[str, str]
    once: tuple[bytes, ...]
    until: datetime
    evidence: Evidence
    erase_at: datetime

    def details(self) -> dict[str, Any]:
        """Return what the ledger keeps of it: nothing that says who somebody is."""
        return {
            "issuer": self.issuer,
            "token_sha256": self.sha256,
            "mapping": self.mapping,
            "evidence": self.evidence.commitment,
        }


class Prover:
    """Holds tokens against the rules that were approved."""

    def __init__(
        self,
        commits: Commits,
        clock: Clock,
        keysets: Keysets,
        nonces: Nonces,
        sealing: SealingKey,
        *,
        evidence_days: int,
        loopback_http: bool,
        overwrite: Callable[[], bool],
    ) -> None:
        """Take what overwrites, in the database's files, what was erased; it says whether it could."""
        self._commits = commits
        self._clock = clock
        self._keysets = keysets
        self.nonces = nonces
        self._sealing = sealing
        self._evidence_days = evidence_days
        self._loopback_http = loopback_http
        self._overwrite = overwrite

    async def close(self) -> None:
        """Close the connections to providers."""
        await self._keysets.close()

    async def forget(self, chain: Chain) -> None:
        """Forget tokens that could not be used again anyway, and erase evidence that was kept for long enough."""
        now = self._clock.now()
        if await self._commits.read(lambda connection: once.over(connection, now)):
            await self._commits.write(lambda connection: once.forget(connection, now))
        if await self._commits.read(lambda connection: evidence.overdue(connection, now)):
            await self._commits.write(lambda connection: evidence.erase_overdue(connection, chain, now))
            if not await asyncio.to_thread(self._overwrite):
                _log.warning("what was erased is in the write-ahead log until its next checkpoint")

    async def prove(
        self, account: Account, policy: Policy, mechanism: Mechanism, presented: Presented, certified: Certified
    ) -> Proof:
        """Return what the token of a request proves of what is to be certified.

        1. it is of the issuer and form that were approved; 2. a key of the issuer signed it; 3. it is for us, of now,
        and for this request; 4. it was not used; 5. its claims say what is certified.
        Raises `NotVerified`, `ContentRefused` naming every field, `ProviderUnavailable`.
        """
        if presented.token is None:
            raise token.refused("is required by the mechanism")
        approved = rule.read(mechanism.rule)
        if not rule.reachable(approved.jwks_uri, loopback=self._loopback_http or account.hierarchy == Hierarchy.TEST):
            raise ProviderUnavailable(f"plain HTTP is not allowed: {approved.jwks_uri}")
        # 1
        found = token.read(presented.token, approved)
        # 2
        key = await self._keysets.find(approved.jwks_uri, found.header.get("kid"), found.header["alg"])
        token.check_signature(found, key)
        # 3: the time is taken now, since fetching keys may have taken some.
        now = self._clock.now()
        token.check_claims(
            found, approved, now, presented.body_sha256, lambda nonce: self.nonces.fresh(nonce, account.id, now)
        )
        single = [found.once]
        if approved.binding == "nonce":
            single.append(hashlib.sha256(found.claims["nonce"].encode()).digest())
        # 4: seen now, before a key is taken, and again in the commit.
        if await self._commits.read(lambda connection: once.used(connection, single)):
            raise replayed()
        # 5
        mapping = rule.compare(approved, found.claims, certified, policy)
        return Proof(
            mechanism,
            approved.issuer,
            found.sha256,
            mapping,
            tuple(single),
            now + _REMEMBERED,
            evidence.seal(self._sealing, found.text),
            evidence.until(now, self._evidence_days),
        )


def details(mechanism: Mechanism, presented: Presented, proof: Proof | None) -> dict[str, Any]:
    """Return what the ledger keeps of how a subject was verified."""
    return {
        "mechanism": mechanism.id,
        "version": mechanism.version,
        "type": mechanism.type,
        "depth": mechanism.depth,
        "reference": presented.reference,
        **({} if proof is None else proof.details()),
    }


def refusal(connection: Connection, proof: Proof, at: datetime, beside: set[bytes]) -> NotVerified | None:
    """Return why a proof no longer serves: the mechanism is another by now, or the token was used.

    `beside` are the digests of those that are recorded together; the proof's are added.
    """
    # Keys were fetched since the mechanism was looked at, and a key taken: that takes seconds.
    mechanism = register.find(connection, proof.mechanism.id)
    if mechanism.version != proof.mechanism.version or not mechanism.usable(at):
        return not_usable()
    if beside.intersection(proof.once) or once.used(connection, proof.once):
        return replayed()
    beside.update(proof.once)
    return None


def use(connection: Connection, proof: Proof) -> None:
    """Have it on record that a token served."""
    once.use(connection, proof.once, proof.until)


def replayed() -> NotVerified:
    """Return the refusal of a token that was used."""
    return token.refused("was used before")
