"""Logging in: who guesses is slowed down, and whose certificate is used for it is not locked out."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intaglio.accounts import credentials
from intaglio.accounts.credentials import ClientCertificate, Secret
from intaglio.clock import ManualClock
from intaglio.database.engine import transaction
from intaglio.errors import IntaglioError, RateLimited, Unauthenticated
from intaglio.ledger.writer import latest
from intaglio.service.composition import running
from intaglio.service.home import Home
from intaglio.signing.login import log_in
from onboarded import caller, small_home

BURST, WAIT = 20, timedelta(seconds=10)  # the defaults
Login = Callable[[str, str], Awaitable[str | IntaglioError]]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = small_home(tmp_path / "home")
    yield made
    made.close()


def walk(home: Home, steps: Callable[[Login, Secret, ManualClock], Awaitable[None]]) -> None:
    clock = ManualClock(datetime.now(UTC))
    who = caller(home)
    with transaction(home.engine) as connection:
        credential, secret = credentials.create(connection, who.account.id, clock.now())
    over = clock.now() + timedelta(days=1)
    certificate = ClientCertificate("ab" * 32, "1", who.account.id, credential.id, clock.now(), over)

    async def run() -> None:
        async with running(home, clock) as service:

            async def login(api_secret: str, peer: str) -> str | IntaglioError:
                try:
                    return await log_in(
                        service.engine, service.sessions, secret.api_key, api_secret, certificate, peer, "r"
                    )
                except IntaglioError as error:
                    return error

            await steps(login, secret, clock)

    asyncio.run(run())


def test_guesses_are_slowed_down_and_nobody_else_is(home: Home) -> None:
    async def steps(login: Login, secret: Secret, clock: ManualClock) -> None:
        guessed = [type(await login("0" * 40, "192.0.2.1")) for _ in range(BURST + 5)]
        assert guessed == [Unauthenticated] * BURST + [RateLimited] * 5
        # Nor is the right one looked at: that it is right would be told.
        refused = await login(secret.api_secret, "192.0.2.1")
        assert isinstance(refused, RateLimited)
        assert refused.retry_after_seconds == WAIT.total_seconds()
        # The account's own programs are elsewhere.
        assert isinstance(await login(secret.api_secret, "192.0.2.2"), str)
        clock.advance(WAIT)
        assert isinstance(await login("0" * 40, "192.0.2.1"), Unauthenticated)
        assert isinstance(await login(secret.api_secret, "192.0.2.1"), RateLimited)
        clock.advance(WAIT)
        assert isinstance(await login(secret.api_secret, "192.0.2.1"), str)

    walk(home, steps)


def test_a_network_of_ipv6_is_one_source(home: Home) -> None:
    async def steps(login: Login, _secret: Secret, _clock: ManualClock) -> None:
        for number in range(BURST):
            assert isinstance(await login("0" * 40, f"2001:db8::{number:x}"), Unauthenticated)
        assert isinstance(await login("0" * 40, "2001:db8::ffff"), RateLimited)
        assert isinstance(await login("0" * 40, "2001:db8:0:1::1"), Unauthenticated)

    walk(home, steps)


def test_right_ones_do_not_count_as_guesses_and_have_a_rate_of_the_account(home: Home) -> None:
    async def steps(login: Login, secret: Secret, clock: ManualClock) -> None:
        made = [await login(secret.api_secret, f"192.0.2.{number % 3}") for number in range(120)]
        assert [type(one) for one in made] == [str] * 100 + [RateLimited] * 20
        with transaction(home.engine) as connection:
            assert len(latest(connection, most=200, kind="login.made")) == 100
        clock.advance(timedelta(seconds=1))
        assert isinstance(await login(secret.api_secret, "192.0.2.9"), str)

    walk(home, steps)
