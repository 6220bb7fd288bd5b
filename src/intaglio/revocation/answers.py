"""Answering for certificates: OCSP responses and CRLs, remembered for as long as they stay true."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec
from cryptography.hazmat import asn1
from sqlalchemy import Connection

from intaglio.database.commits import Commits
from intaglio.errors import RuleBroken
from intaglio.keys.lanes import Lanes
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki.issuer import Issuer, Prepared
from intaglio.revocation import crl, ocsp
from intaglio.revocation.ocsp import Answer, Question
from intaglio.revocation.register import (
    RevocationList,
    Standing,
    State,
    current_list,
    find,
    latest_list,
    publish_list,
    revoked,
    serial_text,
)

_MOST_REMEMBERED = 8_192
# Requests as clients send them have 70 to 120 bytes; what is padded with extensions is answered, not remembered.
_LONGEST_REMEMBERED = 256
_STATUS_AGE = timedelta(minutes=5)
_REFUSED_AGAIN = timedelta(hours=1)
_UNKNOWN_AGAIN = timedelta(seconds=10)

R = TypeVar("R")


class Response(msgspec.Struct, frozen=True):
    """An OCSP response with its times, which an HTTP cache wants to know; `current` False must not be cached."""

    der: bytes
    this_update: datetime
    next_update: datetime
    current: bool = True


class Answers:
    """What this process has answered and may answer again; `forget` when a revocation may have happened.

    What the sandbox of a test account may change, its clock and what is to be unknown, is kept apart: `forget_tests`.
    """

    def __init__(
        self,
        responders: Mapping[str, ocsp.Responder],
        issuers: Mapping[str, Issuer],
        commits: Commits,
        lanes: Lanes,
        chain: Chain,
        told_by: Callable[[Connection, str, datetime], tuple[datetime, bool, bool]],
        unknown_now: Callable[[Connection, str, datetime], bool],
    ) -> None:
        """Tell of certificates of test accounts by the account: its time, whether they are unknown, if so often only.

        `unknown_now` says at last whether they are, counts it, and writes an entry.
        """
        self._told_by = told_by
        self._unknown_now = unknown_now
        self._lanes = lanes
        self._chain = chain
        # When what anybody can bring about, as often as they like, was last written.
        self._written: dict[tuple[str, str], datetime] = {}
        self._responders = responders
        self._issuers = issuers
        self._commits = commits
        self._by_hashes: dict[tuple[str, bytes, bytes], str] = {}
        self._remembered: dict[bytes, Response] = {}
        self._of_tests: dict[bytes, Response] = {}
        self._publishing: dict[str, asyncio.Lock] = {}
        # What was read before `forget` must not be remembered after it.
        self.generation = 0
        self._statuses: dict[tuple[str, int], Response] = {}
        # By the CertID, DER, that they answer.
        self._issued: dict[bytes, Response] = {}
        self.learn()

    def learn(self) -> None:
        """Take notice of responders and issuers that have come into the mappings."""
        for name, responder in self._responders.items():
            for key in ocsp.issuer_hashes(responder.issuer):
                self._by_hashes[key] = name
        for name in self._issuers:
            self._publishing.setdefault(name, asyncio.Lock())

    def forget(self) -> None:
        """Drop every remembered response."""
        self.generation += 1
        self._remembered.clear()
        self._of_tests.clear()
        self._statuses.clear()
        self._issued.clear()

    def forget_tests(self) -> None:
        """Drop what a test account could have changed: what is remembered of production stays."""
        self.generation += 1
        self._of_tests.clear()

    def issued(self, prepared: Prepared, der: bytes, generation: int) -> None:
        """Answer from now on with what came with a certificate, as long as it is young, to who asks without a nonce.

        What was made before a revocation, in another `generation`, is not taken. Nor is what is of tests: what is told
        of them can change without one.
        """
        responder = self._responders[prepared.issuer]
        if generation == self.generation and not responder.test:
            wanted, begin = responder.cert_id(prepared.serial), prepared.not_before
            end = responder.next_update(Answer(wanted, prepared.not_after), begin)
            _keep(self._issued, wanted, Response(der, begin, end))

    async def ocsp(self, request: bytes, now: datetime) -> Response:
        """Return the OCSPResponse to a DER request; raises `Malformed`."""
        remembered = self._remembered.get(request) or self._of_tests.get(request)
        if remembered is not None and _young(remembered, now):
            return remembered
        question = ocsp.read(request)
        names = {
            self._by_hashes.get(
                (wanted.hash_algorithm.algorithm.dotted_string, wanted.issuer_name_hash, wanted.issuer_key_hash)
            )
            for wanted in question.cert_ids
        }
        name = names.pop()
        if names or name is None:
            # Another issuer, or several at once: not ours to answer (RFC 5019 §2.2.3).
            return Response(ocsp.UNAUTHORIZED, now, now, current=False)
        issuer_name: str = name

        made = self._made(question)
        if made is not None and _young(made, now):
            if len(request) <= _LONGEST_REMEMBERED:
                _keep(self._remembered, request, made)
            return made

        def look(connection: Connection) -> list[tuple[Answer, tuple[str, bool] | None]]:
            return [
                self._answer(connection, issuer_name, wanted.serial_number, asn1.encode_der(wanted), now)
                for wanted in question.cert_ids
            ]

        generation = self.generation
        looked = await self._commits.read(look)
        answers = [
            answer if unknown is None else await self._unknown(answer, unknown, now) for answer, unknown in looked
        ]
        responder = self._responders[issuer_name]
        der = await self._signed(issuer_name, now, partial(responder.sign, answers, now, question.nonce))
        response = Response(
            der,
            now,
            min(responder.next_update(one, now) for one in answers),
            current=question.nonce is None
            and all(one.known and (one.this_update is None or one.this_update <= now) for one in answers),
        )
        # What is told by another clock than ours does not stay true for as long.
        lasting = response.current and all(one.this_update is None for one in answers)
        if lasting and len(request) <= _LONGEST_REMEMBERED and generation == self.generation:
            kept = self._of_tests if responder.test else self._remembered
            _keep(kept, request, response)
        return response

    def _made(self, question: Question) -> Response | None:
        """Return the response that came with the certificate that is asked for, if it has the same CertID."""
        if question.nonce is not None or len(question.cert_ids) != 1:
            return None
        return self._issued.get(asn1.encode_der(question.cert_ids[0]))

    def _answer(
        self, connection: Connection, issuer: str, serial: int, wanted: bytes, now: datetime
    ) -> tuple[Answer, tuple[str, bool] | None]:
        """Return the status of a certificate; of one that a test account signs with, by the account's time.

        With it comes the account, if it wants it to be unknown, and whether so often only.
        After that clock was set back there are certificates from its future: thisUpdate is never before notBefore.
        """
        standing = _standing(connection, issuer, serial)
        told = _told(standing, wanted)
        if not self._responders[issuer].test or standing is None or standing.account_id is None:
            return told, None
        time, unknown, counted = self._told_by(connection, standing.account_id, now)
        if time != now or standing.not_before > now:
            told = msgspec.structs.replace(told, this_update=max(time, standing.not_before))
        return told, (standing.account_id, counted) if unknown else None

    async def _unknown(self, answer: Answer, wanted: tuple[str, bool], now: datetime) -> Answer:
        account_id, counted = wanted
        unknown, key = msgspec.structs.replace(answer, known=False, not_after=None), (account_id, "unknown")
        if not counted and key in self._written and now < self._written[key] + _UNKNOWN_AGAIN:
            return unknown
        self._written[key] = now
        try:
            taken = await self._commits.write(lambda connection: self._unknown_now(connection, account_id, now))
        except BaseException:
            self._written.pop(key, None)
            raise
        return unknown if taken else answer

    async def status(self, issuer: str, serial: int, now: datetime, *, apart: bool = False) -> bytes:
        """Return a signed OCSP response about one of the service's own certificates, a few minutes old at most.

        A time that is `apart` is that of a test account's own clock: the response is made for it and not remembered.
        """
        remembered = None if apart else self._statuses.get((issuer, serial))
        if remembered is not None and now < remembered.this_update + _STATUS_AGE:
            return remembered.der
        responder = self._responders[issuer]
        wanted = responder.cert_id(serial)
        generation = self.generation
        found = await self._commits.read(lambda connection: _told(_standing(connection, issuer, serial), wanted))
        der = await self._signed(issuer, now, partial(responder.sign, [found], now))
        response = Response(der, now, responder.next_update(found, now))
        if generation == self.generation and not apart:
            self._statuses[issuer, serial] = response
        return response.der

    async def revocation_list(self, issuer: str, now: datetime) -> RevocationList | None:
        """Return the CRL now published for `issuer`, making a new one when it is due; None if there is no such CA.

        Of a CA whose key is not here it is the one that was imported last, whatever its time.
        """
        if issuer not in self._issuers:
            if issuer not in self._responders:
                return None
            return await self._commits.read(lambda connection: latest_list(connection, issuer))
        async with self._publishing[issuer]:
            found = await self._commits.read(lambda connection: current_list(connection, issuer, now))
            return found or await self._publish(issuer, now)

    async def _signed(self, issuer: str, now: datetime, work: Callable[[], R]) -> R:
        """Return what is signed beside the event loop; that a rule refuses it is recorded, once in a while."""
        try:
            return await self._lanes.run(work)
        except RuleBroken as error:
            last = self._written.get((issuer, error.rule))
            if last is None or now >= last + _REFUSED_AGAIN:
                self._written[issuer, error.rule] = now
                details = {"rule": error.rule, "reason": error.reason, "issuer": issuer}
                event = Event(now, "lint.refused", reference=issuer, details=details)
                await self._commits.write(lambda connection: self._chain.append(connection, [event]))
            raise

    async def _publish(self, issuer: str, now: datetime) -> RevocationList:
        """Sign and store the next CRL of `issuer`; it is signed beside the database, whose lock waits for no key."""

        def look(connection: Connection) -> tuple[RevocationList | None, list[Standing]]:
            return latest_list(connection, issuer), revoked(connection, issuer)

        before, standings = await self._commits.read(look)
        number = crl.next_number(before, now)
        currency = self._responders[issuer].currency
        build = partial(crl.build, self._issuers[issuer], standings, number=number, now=now, currency=currency)
        fresh = await self._signed(issuer, now, build)
        # Two processes may have made the same number: the first stays, the other is refused by its unique key.
        await self._commits.write(lambda connection: publish_list(connection, fresh))
        return fresh


def _young(response: Response, now: datetime) -> bool:
    """Return whether less than half its time is over: then a pre-produced one gives way (RFC 5019 §2.2.4)."""
    return now < response.this_update + (response.next_update - response.this_update) / 2


def _keep(kept: dict[bytes, Response], key: bytes, response: Response) -> None:
    """Remember a response, in the place of the one that was remembered first if there are too many."""
    kept.pop(key, None)
    if len(kept) >= _MOST_REMEMBERED:
        del kept[next(iter(kept))]
    kept[key] = response


def _standing(connection: Connection, issuer: str, serial: int) -> Standing | None:
    return find(connection, issuer, serial_text(serial)) if serial > 0 else None


def _told(standing: Standing | None, wanted: bytes) -> Answer:
    """Return the status of one certificate, for the CertID, DER, that it was asked for by.

    What was only planned is unknown: nobody was ever given such a certificate, and it must not become good.
    """
    if standing is None or standing.state == State.PLANNED:
        return Answer(wanted, known=False)
    if standing.state == State.REVOKED:
        reason = standing.reason or "unspecified"
        return Answer(wanted, standing.not_after, revoked_at=standing.revoked_at, reason=reason)
    return Answer(wanted, standing.not_after)
