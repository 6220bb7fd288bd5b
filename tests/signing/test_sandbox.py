"""A test account's clock: what it moves ends as it would have, what it leaves behind is gone, production has none."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asn1crypto import cms, tsp
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from sqlalchemy import Connection, event, select, update

from intaglio.accounts import onboarding
from intaglio.accounts import sandbox as register
from intaglio.accounts.kinds import Kind
from intaglio.accounts.quota import Resource, quotas
from intaglio.accounts.rates import rate
from intaglio.accounts.sandbox import MOST_AHEAD, Failure, forced_failures, sandboxes
from intaglio.accounts.sessions import Caller
from intaglio.clock import ManualClock
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, ContentRefused, Malformed, NotFound, RateLimited
from intaglio.keys.register import identity_keys
from intaglio.ledger.writer import latest
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service.composition import Service, running
from intaglio.service.home import Home
from intaglio.signing import sandbox
from intaglio.signing.destruction import destroy_expired
from intaglio.signing.identity import create_identity
from intaglio.signing.signature import sign_digest
from intaglio.signing.timestamp import stamp_digest
from onboarded import DIGEST, caller, small_home
from served import ADMINISTRATION, JOHN_DOE


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = small_home(tmp_path / "home")
    yield made
    made.close()


def advance(home: Home, account_id: str, seconds: Any, now: datetime) -> sandbox.State:
    with transaction(home.engine) as connection:
        return sandbox.advance(connection, home.chain, account_id, now, "r", {"advance_seconds": seconds})


def reset(home: Home, account_id: str, now: datetime) -> sandbox.State:
    with transaction(home.engine) as connection:
        return sandbox.reset(connection, home.chain, account_id, now, "r")


def gen_time(token: bytes) -> datetime:
    content = cms.ContentInfo.load(token)["content"]["encap_content_info"]["content"]
    found: datetime = tsp.TSTInfo.load(content.contents if content.contents[0] == 0x30 else content.native)[
        "gen_time"
    ].native
    return found


def production(home: Home) -> str:
    with transaction(home.engine) as connection:
        return onboarding.create_account(
            connection, home.chain, name="P", kind=Kind.PARTNER, hierarchy=Hierarchy.PRODUCTION, organization="P",
            country="GB", granted={}, now=datetime.now(UTC),
        ).id  # fmt: skip


async def status(service: Service, certificate: x509.Certificate) -> tuple[ocsp.OCSPResponse, bool]:
    issuer = service.engine.responders["test-issuing"].issuer
    asked = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA256()).build()
    now = service.engine.clock.now().replace(microsecond=0)
    der = asked.public_bytes(Encoding.DER)
    response = await service.engine.answers.ocsp(der, now)
    return ocsp.load_der_ocsp_response(response.der), response.current


def test_ten_minutes_pass_in_a_moment_for_the_account_alone(home: Home) -> None:
    clock = ManualClock(datetime.now(UTC))
    who, other = caller(home), caller(home)

    async def walk() -> None:
        async with running(home, clock) as service:
            engine = service.engine
            made = await create_identity(engine, who, JOHN_DOE, "r1")
            untouched = await create_identity(engine, other, JOHN_DOE, "r2")
            await sign_digest(engine, who, made.id, DIGEST, "r3")
            state = advance(home, who.account.id, 600, clock.now())
            assert (state.ahead_seconds, state.account_time - state.real_time) == (600, timedelta(minutes=10))
            moved = caller(home, who.account.id)
            with pytest.raises(NotFound):
                await sign_digest(engine, moved, made.id, DIGEST, "r4")
            # destroyed as an expiry destroys, with its entry; the neighbour's is not
            assert await destroy_expired(engine) == 1
            with reading(home.engine) as connection:
                row = connection.execute(select(identity_keys).where(identity_keys.c.id == made.id)).one()
                assert made.id.encode() in latest(connection, most=1, kind="key.destroyed")[0].body
            assert row.sealed is None
            await sign_digest(engine, other, untouched.id, DIGEST, "r5")

            # what is made now is of the account's time
            made = await create_identity(engine, moved, JOHN_DOE, "r6")
            certificate = x509.load_der_x509_certificate(made.certificate)
            assert certificate.not_valid_before_utc == moved.time(clock.now()).replace(microsecond=0)
            first = ocsp.load_der_ocsp_response(made.ocsp_response)
            assert first.this_update_utc == certificate.not_valid_before_utc
            told, cacheable = await status(service, certificate)
            assert (told.this_update_utc, cacheable) == (certificate.not_valid_before_utc, False)
            assert told.produced_at_utc == told.this_update_utc
            assert gen_time(await stamp_digest(engine, moved, DIGEST, "r7")) == moved.time(clock.now()).replace(
                microsecond=clock.now().microsecond // 1000 * 1000
            )
            # ten minutes of its own time, to the second
            clock.advance(timedelta(seconds=598))
            await sign_digest(engine, moved, made.id, DIGEST, "r8")
            clock.advance(timedelta(seconds=2))
            with pytest.raises(NotFound):
                await sign_digest(engine, moved, made.id, DIGEST, "r9")
            with reading(home.engine) as connection:
                entry = msgspec.json.decode(latest(connection, most=1, kind="signature.made")[0].body)
            ahead = datetime.fromisoformat(entry["details"]["account_time"]) - datetime.fromisoformat(entry["at"])
            assert ahead == timedelta(minutes=10)
            # the TSA's own time has not moved: another account is stamped at the real one
            assert gen_time(await stamp_digest(engine, other, DIGEST, "r10")) <= clock.now()

    asyncio.run(walk())


def test_half_of_an_identity_is_left_after_five_minutes(home: Home) -> None:
    clock = ManualClock(datetime.now(UTC))
    who = caller(home)

    async def walk() -> None:
        async with running(home, clock) as service:
            made = await create_identity(service.engine, who, JOHN_DOE, "r1")
            advance(home, who.account.id, 300, clock.now())
            moved = caller(home, who.account.id)
            clock.advance(timedelta(seconds=298))
            await sign_digest(service.engine, moved, made.id, DIGEST, "r2")
            clock.advance(timedelta(seconds=3))
            with pytest.raises(NotFound):
                await sign_digest(service.engine, moved, made.id, DIGEST, "r3")

    asyncio.run(walk())


def test_after_the_clock_is_set_back_nothing_of_its_future_signs(home: Home) -> None:
    clock = ManualClock(datetime.now(UTC))
    who = caller(home)

    async def walk() -> None:
        async with running(home, clock) as service:
            engine = service.engine
            advance(home, who.account.id, 600, clock.now())
            moved = caller(home, who.account.id)
            made = await create_identity(engine, moved, JOHN_DOE, "r1")
            certificate = x509.load_der_x509_certificate(made.certificate)
            assert reset(home, who.account.id, clock.now()).ahead_seconds == 0
            back = caller(home, who.account.id)
            assert back.sandbox is not None
            assert back.sandbox.era == 1
            # now, and when real time comes to where the certificate says that it is valid
            for _ in range(3):
                with pytest.raises(NotFound):
                    await sign_digest(engine, back, made.id, DIGEST, "r2")
                clock.advance(timedelta(minutes=5))
            assert await destroy_expired(engine) == 1
            clock.advance(timedelta(minutes=-14))
            told, cacheable = await status(service, certificate)
            assert (told.this_update_utc, cacheable) == (certificate.not_valid_before_utc, False)

    asyncio.run(walk())


@pytest.mark.parametrize("act", ["advance", "reset"])
def test_an_identity_that_was_being_made_while_the_clock_was_set_is_refused(home: Home, act: str) -> None:
    who = caller(home)
    advance(home, who.account.id, 60, datetime.now(UTC))
    stale = caller(home, who.account.id)

    async def walk() -> None:
        async with running(home) as service:
            now = service.engine.clock.now()
            if act == "advance":
                advance(home, who.account.id, 60, now)
            else:
                reset(home, who.account.id, now)
            made = [create_identity(service.engine, one, JOHN_DOE, "r") for one in (stale, who, caller(home))]
            outcomes = await asyncio.gather(*made, return_exceptions=True)
            # `who` is as stale as the other, and the neighbour in the same commit unharmed
            assert [isinstance(one, Conflict) for one in outcomes] == [True, True, False]

    asyncio.run(walk())


def test_production_has_no_sandbox_whatever_calls_and_whatever_the_table_says(home: Home) -> None:
    account_id, now = production(home), datetime.now(UTC)
    with transaction(home.engine) as connection:
        connection.execute(sandboxes.insert(), {"account_id": account_id, "ahead_seconds": 600, "era": 3})
        connection.execute(forced_failures.insert(), {"account_id": account_id, "failure": Failure.OCSP_UNKNOWN})
    attempts: list[Callable[[Connection], object]] = [
        lambda c: sandbox.state(c, account_id, now),
        lambda c: sandbox.advance(c, home.chain, account_id, now, "r", {"advance_seconds": 600}),
        lambda c: sandbox.reset(c, home.chain, account_id, now, "r"),
        lambda c: register.advance(c, account_id, timedelta(1)),
        lambda c: register.reset(c, account_id),
        lambda c: register.force(c, account_id, {Failure.KEY_STORE_AWAY: None}),
        lambda c: register.take(c, account_id, Failure.KEY_STORE_AWAY),
        lambda c: sandbox.force(c, home.chain, account_id, now, "r", {"failures": []}),
    ]
    for change in attempts:
        with pytest.raises(NotFound), transaction(home.engine) as connection:
            change(connection)
    with reading(home.engine) as connection:
        assert register.told_by(connection, account_id, now) == (now, False, False)
        assert latest(connection, most=9, kind="sandbox.advanced") == []
    who = caller(home, account_id)
    assert (who.sandbox, who.time(now), who.beside(now), who.owner) == (None, now, {}, account_id)
    assert not who.forced


@pytest.mark.parametrize("seconds", [0, -1, 31_622_401, 10**30, -(10**30)])
def test_a_step_out_of_bounds_is_refused(home: Home, seconds: int) -> None:
    with pytest.raises(ContentRefused):
        advance(home, caller(home).account.id, seconds, datetime.now(UTC))


@pytest.mark.parametrize("seconds", [True, 600.0, float("nan"), float("inf"), "600", None, [600]])
def test_what_is_no_number_of_seconds_is_refused(home: Home, seconds: object) -> None:
    with pytest.raises(Malformed):
        advance(home, caller(home).account.id, seconds, datetime.now(UTC))


def test_a_year_is_as_far_as_it_goes_and_everything_works_there(home: Home) -> None:
    who = caller(home)
    most = MOST_AHEAD // timedelta(seconds=1)
    for seconds in (1, most - 1):
        advance(home, who.account.id, seconds, datetime.now(UTC))
    with pytest.raises(Conflict):
        advance(home, who.account.id, 1, datetime.now(UTC))
    moved = caller(home, who.account.id)

    async def walk() -> None:
        async with running(home) as service:
            made = await create_identity(service.engine, moved, JOHN_DOE, "r1")
            await sign_digest(service.engine, moved, made.id, DIGEST, "r2")
            assert gen_time(await stamp_digest(service.engine, moved, DIGEST, "r3")) > datetime.now(
                UTC
            ) + MOST_AHEAD - timedelta(hours=1)

    asyncio.run(walk())


def test_production_and_other_accounts_are_not_forgotten_when_a_sandbox_changes(home: Home) -> None:
    who, other = caller(home), caller(home, production(home))

    async def walk() -> None:
        async with running(home) as service:
            asked = ((who, JOHN_DOE), (other, ADMINISTRATION))
            made = [await create_identity(service.engine, one, sent, "r") for one, sent in asked]
            assert len(service.engine.live) == 2
            advance(home, who.account.id, 1, datetime.now(UTC))
            await service.sessions.refresh()
            assert len(service.engine.live) == 1
            await sign_digest(service.engine, other, made[1].id, DIGEST, "r")

    asyncio.run(walk())


def test_what_is_to_fail_so_often_does_so_exactly_however_many_ask_at_once(home: Home) -> None:
    account_id = caller(home).account.id
    with transaction(home.engine) as connection:
        register.force(connection, account_id, {Failure.RATE_LIMITED: 7})
    who = caller(home, account_id)

    async def walk() -> None:
        async with running(home) as service:
            asked = [stamp_digest(service.engine, who, DIGEST, f"r{number}") for number in range(12)]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert sum(isinstance(one, RateLimited) for one in outcomes) == 7
            assert sum(isinstance(one, bytes) for one in outcomes) == 5
            with reading(home.engine) as connection:
                assert len(latest(connection, most=20, kind="failure.forced")) == 7
                assert len(latest(connection, most=20, kind="timestamp.made")) == 5

    asyncio.run(walk())


def test_failures_are_forced_no_faster_than_the_account_may_ask(home: Home) -> None:
    """Each is a commit and an entry, for which others wait."""
    account_id = caller(home).account.id
    with transaction(home.engine) as connection:
        register.force(connection, account_id, {Failure.RATE_LIMITED: None})
    who = msgspec.structs.replace(caller(home, account_id), rates=dict.fromkeys(Resource, rate(0.001, 3)))

    async def walk() -> None:
        async with running(home) as service:
            for ask in (
                lambda: stamp_digest(service.engine, who, DIGEST, "r"),
                lambda: sign_digest(service.engine, who, "0" * 32, DIGEST, "r"),
                lambda: create_identity(service.engine, who, JOHN_DOE, "r"),
            ):
                for _ in range(9):
                    with pytest.raises(RateLimited):
                        await ask()
            with reading(home.engine) as connection:
                entries = latest(connection, most=99, kind="failure.forced")
            told = Counter(msgspec.json.decode(one.body)["details"]["resource"] for one in entries)
            assert told == {"timestamps": 3, "signatures": 3, "identities": 3}

    asyncio.run(walk())


@pytest.mark.parametrize("remaining", [None, 30])
def test_whoever_asks_about_what_is_unknown_writes_little_unless_it_is_counted(
    home: Home, remaining: int | None
) -> None:
    clock = ManualClock(datetime.now(UTC))
    who = caller(home)

    async def walk() -> None:
        async with running(home, clock) as service:
            made = await create_identity(service.engine, who, JOHN_DOE, "r1")
            certificate = x509.load_der_x509_certificate(made.certificate)
            with transaction(home.engine) as connection:
                register.force(connection, who.account.id, {Failure.OCSP_UNKNOWN: remaining})

            async def told(times: int) -> Counter[str]:
                return Counter([(await status(service, certificate))[0].certificate_status.name for _ in range(times)])

            def entries() -> int:
                with reading(home.engine) as connection:
                    return len(latest(connection, most=99, kind="failure.forced"))

            assert await told(20) == {"UNKNOWN": 20}
            assert entries() == (1 if remaining is None else 20)
            clock.advance(timedelta(seconds=10))
            assert await told(20) == ({"UNKNOWN": 20} if remaining is None else {"UNKNOWN": 10, "GOOD": 10})
            assert entries() == (2 if remaining is None else 30)
            # What is taken back is over at once, within those seconds.
            reset(home, who.account.id, clock.now())
            assert await told(1) == {"GOOD": 1}

    asyncio.run(walk())


def test_for_production_no_statement_asks_of_sandboxes(home: Home) -> None:
    """The control is a test account, whose identities are looked at when they are recorded."""
    asked: list[str] = []

    def listen(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    async def walk(who: Caller, request: object) -> int:
        async with running(home) as service:
            # what serves everybody is asked for before
            await create_identity(service.engine, who, request, "r")
            asked.clear()
            made = await create_identity(service.engine, who, request, "r")
            await sign_digest(service.engine, who, made.id, DIGEST, "r")
            await stamp_digest(service.engine, who, DIGEST, "r")
        return sum("FROM sandboxes" in one or "forced_failures" in one for one in asked)

    account_id = production(home)
    with transaction(home.engine) as connection:
        connection.execute(update(quotas).where(quotas.c.account_id == account_id).values(granted=10))
    event.listen(home.engine, "before_cursor_execute", listen)
    assert asyncio.run(walk(caller(home, account_id), ADMINISTRATION)) == 0
    assert asyncio.run(walk(caller(home), JOHN_DOE)) == 1


def test_with_too_many_identities_alive_the_clock_is_not_set(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    who = caller(home)
    monkeypatch.setattr(sandbox, "_MOST_ALIVE", 1)

    async def walk() -> None:
        async with running(home) as service:
            await create_identity(service.engine, who, JOHN_DOE, "r")
            advance(home, who.account.id, 1, datetime.now(UTC))
            await create_identity(service.engine, caller(home, who.account.id), JOHN_DOE, "r")
            with pytest.raises(Conflict):
                advance(home, who.account.id, 600, datetime.now(UTC))
            with pytest.raises(Conflict):
                reset(home, who.account.id, datetime.now(UTC))
            assert caller(home, who.account.id).sandbox == register.Sandbox(timedelta(seconds=1))

    asyncio.run(walk())
