"""Ten minutes: an identity signs until its last second and never after, and its key is destroyed, provably."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from sqlalchemy import select

from intaglio.accounts import quota
from intaglio.accounts.quota import Resource
from intaglio.clock import ManualClock
from intaglio.database.engine import reading, transaction
from intaglio.errors import ClockUntrusted, KeyUnavailable, NotFound
from intaglio.keys.algorithm import PrivateKey
from intaglio.keys.custody import SealedKey
from intaglio.keys.register import identity_keys
from intaglio.ledger.writer import latest
from intaglio.pki.der import element
from intaglio.pki.hierarchy import Hierarchy
from intaglio.revocation import register
from intaglio.service.composition import running
from intaglio.service.home import Home
from intaglio.signing.destruction import destroy_expired, forget_expired
from intaglio.signing.engine import Engine
from intaglio.signing.identity import create_identity
from intaglio.signing.signature import sign_digest
from intaglio.signing.timestamp import answer_request, stamp_digest
from intaglio.timestamping.tsp import sha256_imprint
from onboarded import DIGEST, caller, small_home
from served import JOHN_DOE


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = small_home(tmp_path / "home")
    yield made
    made.close()


def test_an_identity_ends_and_its_key_with_it(home: Home) -> None:
    clock = ManualClock(datetime.now(UTC))
    who = caller(home)

    async def walk() -> None:
        async with running(home, clock) as service:
            engine = service.engine
            made = await create_identity(engine, who, JOHN_DOE, "r1")
            end = x509.load_der_x509_certificate(made.certificate).not_valid_after_utc
            clock.advance(end - clock.now())
            await sign_digest(engine, who, made.id, DIGEST, "r2")
            clock.advance(timedelta(seconds=1))
            with pytest.raises(NotFound):
                await sign_digest(engine, who, made.id, DIGEST, "r3")
            assert await destroy_expired(engine) == 1
            await forget_expired(engine)
            with reading(home.engine) as connection:
                row = connection.execute(select(identity_keys).where(identity_keys.c.id == made.id)).one()
                entry = latest(connection, most=1, kind="key.destroyed")
            assert (row.sealed, row.destroyed_at) == (None, clock.now())
            assert made.id.encode() in entry[0].body
            # the clock turned back brings nothing back
            clock.advance(timedelta(minutes=-5))
            with pytest.raises(NotFound):
                await sign_digest(engine, who, made.id, DIGEST, "r4")

    asyncio.run(walk())


def test_a_revocation_is_not_lost_to_whoever_asks_first(home: Home) -> None:
    """A health probe between the revocation and the next poll must not swallow the news."""
    who = caller(home)

    async def walk() -> None:
        async with running(home) as service:
            engine = service.engine
            made = await create_identity(engine, who, JOHN_DOE, "r1")
            serial = f"{x509.load_der_x509_certificate(made.certificate).serial_number:x}"
            with transaction(home.engine) as connection:
                register.revoke(connection, "test-issuing", serial, "keyCompromise", engine.clock.now())
            await service.ready()
            with pytest.raises(NotFound):
                await sign_digest(engine, who, made.id, DIGEST, "r2")

    asyncio.run(walk())


def test_a_key_read_before_a_revocation_is_not_used_after_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    who = caller(home)

    async def walk() -> None:
        async with running(home) as service:
            engine = service.engine
            made = await create_identity(engine, who, JOHN_DOE, "r1")
            engine.live.clear()
            custody = engine.custody(home.identities)
            opened = custody.open

            def slow(key: SealedKey) -> PrivateKey:
                found = opened(key)
                engine.live.clear()  # the revocation becomes known while the key is being opened
                return found

            monkeypatch.setattr(custody, "open", slow)
            await sign_digest(engine, who, made.id, DIGEST, "r2")
            assert len(engine.live) == 0

    asyncio.run(walk())


def test_an_identity_outlives_the_process_that_made_it(home: Home) -> None:
    who = caller(home)

    async def make() -> str:
        async with running(home) as service:
            return (await create_identity(service.engine, who, JOHN_DOE, "r1")).id

    async def sign(identity_id: str) -> bytes:
        async with running(home) as service:
            return await sign_digest(service.engine, who, identity_id, DIGEST, "r2")

    identity_id = asyncio.run(make())
    assert len(asyncio.run(sign(identity_id))) == 256


def test_a_failing_key_gives_the_quota_back_and_is_recorded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    who = caller(home)

    class Broken:
        def sign(self, *_: object) -> bytes:
            raise ValueError

    async def walk() -> None:
        async with running(home) as service:
            engine = service.engine
            made = await create_identity(engine, who, JOHN_DOE, "r1")
            with monkeypatch.context() as patched:
                patched.setattr(engine.live, "get", lambda *_: Broken())
                with pytest.raises(KeyUnavailable):
                    await sign_digest(engine, who, made.id, DIGEST, "r2")
            assert (await left(engine, who.account.id)) == 10
            with reading(home.engine) as connection:
                assert latest(connection, most=1, kind="signature.failed")

    asyncio.run(walk())


def rfc3161_request() -> bytes:
    imprint = asn1.encode_der(sha256_imprint(DIGEST.value))
    return element(0x30, b"\x02\x01\x01", imprint)


async def left(engine: Engine, account_id: str) -> int | None:
    return (await engine.commits.read(lambda c: quota.read(c, account_id, Resource.SIGNATURES))).left


def test_a_clock_that_steps_back_stops_time_stamps_and_they_are_not_counted(home: Home) -> None:
    clock = ManualClock(datetime.now(UTC) + timedelta(minutes=5))
    who = caller(home)

    async def walk() -> None:
        async with running(home, clock) as service:
            await stamp_digest(service.engine, who, DIGEST, "r1")
            clock.advance(timedelta(seconds=-2))
            with pytest.raises(ClockUntrusted):
                await stamp_digest(service.engine, who, DIGEST, "r2")
            read = await service.engine.commits.read(lambda c: quota.read(c, who.account.id, Resource.TIMESTAMPS))
            assert read.spent == 1
            request = rfc3161_request()
            with pytest.raises(ClockUntrusted):
                await answer_request(service.engine, request, Hierarchy.TEST, "r3")
            with reading(home.engine) as connection:
                begun = latest(connection, most=9, kind="timestamp.made")
                refused = latest(connection, most=9, kind="timestamp.refused")
            # what was refused is said to be, with and without an account
            assert (len(begun), len(refused)) == (1, 2)

    asyncio.run(walk())
