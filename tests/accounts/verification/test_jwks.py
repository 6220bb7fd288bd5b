"""Keys of a provider over real HTTP: bounded in time and size, believed for a while, asked for again with measure."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from intaglio.accounts.verification import jwks
from intaglio.accounts.verification.jwks import Keysets
from intaglio.errors import NotVerified, ProviderUnavailable

ONE, TWO = (RSAKey.generate_key(2048, {"kid": kid}) for kid in ("one", "two"))
CURVE = ECKey.generate_key("P-256", {"kid": "curve", "use": "sig"})


class Publisher:
    """Serves what it is told to, counts how often it was asked, and may hang."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = "200 OK"
        self.keys: list[Any] = [ONE.as_dict(private=False)]
        self.body: Callable[[], bytes] = lambda: json.dumps({"keys": self.keys}).encode()
        self.hangs: str | None = None
        self.more = ""
        self.uri = ""
        self._busy: set[asyncio.Task[None]] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            if self.hangs == "before":
                await asyncio.sleep(60)
            body = self.body()
            head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{self.more}\r\n"
            writer.write(head.encode())
            if self.hangs == "drop by drop":
                for octet in body:
                    writer.write(bytes([octet]))
                    await writer.drain()
                    await asyncio.sleep(0.2)
            writer.write(body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._busy.discard(task)

    def end(self) -> None:
        for task in self._busy:
            task.cancel()


@asynccontextmanager
async def published() -> AsyncIterator[tuple[Publisher, Keysets]]:
    publisher, keysets = Publisher(), Keysets()
    server = await asyncio.start_server(publisher.answer, "127.0.0.1", 0)
    publisher.uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
    try:
        yield publisher, keysets
    finally:
        await keysets.close()
        publisher.end()
        server.close()


def test_keys_are_fetched_once_and_again_for_an_unknown_one_with_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def walk() -> None:
        async with published() as (publisher, keysets):
            found = await asyncio.gather(*(keysets.find(publisher.uri, "one", "RS256") for _ in range(20)))
            assert {one.kid for one in found} == {"one"}
            assert publisher.asked == 1
            for _ in range(3):
                with pytest.raises(NotVerified):
                    await keysets.find(publisher.uri, "two", "RS256")
            assert publisher.asked == 1
            publisher.keys = [TWO.as_dict(private=False)]
            monkeypatch.setattr(jwks, "_AGAIN_SECONDS", 0.0)
            assert (await keysets.find(publisher.uri, "two", "RS256")).kid == "two"
            assert publisher.asked == 2
            with pytest.raises(NotVerified):  # withdrawn
                await keysets.find(publisher.uri, "one", "RS256")

    asyncio.run(walk())


def test_keys_serve_a_while_longer_when_nobody_answers_and_then_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(jwks, "_FRESH_SECONDS", 0.0)

    async def walk() -> None:
        async with published() as (publisher, keysets):
            await keysets.find(publisher.uri, "one", "RS256")
            publisher.status = "500 No"
            await keysets.find(publisher.uri, "one", "RS256")
            assert publisher.asked == 2
            monkeypatch.setattr(jwks, "_STALE_SECONDS", 0.0)
            with pytest.raises(ProviderUnavailable):
                await keysets.find(publisher.uri, "one", "RS256")

    asyncio.run(walk())


@pytest.mark.parametrize(
    "fault",
    [
        "before",
        "drop by drop",
        "404 No",
        "302 Elsewhere",
        "long",
        "compressed",
        "no JSON",
        "no keys",
        "weak",
        "secret",
        "encryption",
    ],
)
def test_a_provider_that_fails_costs_a_bounded_time_and_nobody_else_any(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_PATIENCE_SECONDS", 1.0)
    bodies = {"long": b'{"keys": [' + b" " * 300_000 + b"]}", "no JSON": b"<html>", "no keys": b'{"keys": []}'}
    keys = {
        "weak": {"kty": "RSA", "kid": "one", "n": "AQAB" * 32, "e": "AQAB"},
        "secret": OctKey.generate_key(256, {"kid": "one"}).as_dict(private=True),
        "encryption": {**ONE.as_dict(private=False), "use": "enc"},
    }

    bomb = gzip.compress(gzip.compress(b" " * 400_000_000, 1), 9) if fault == "compressed" else b""

    async def walk() -> None:
        async with published() as (publisher, keysets):
            publisher.hangs = fault if fault in {"before", "drop by drop"} else None
            publisher.status = fault if fault[0].isdigit() else "200 OK"
            publisher.keys = [keys.get(fault, ONE.as_dict(private=False))]
            if fault in bodies:
                publisher.body = lambda: bodies[fault]
            if fault == "compressed":
                # A kilobyte that stands for hundreds of megabytes.
                publisher.more = "Content-Encoding: gzip, gzip\r\n"
                publisher.body = lambda: bomb
            began, longest = time.monotonic(), 0.0
            waiting = [asyncio.create_task(keysets.find(publisher.uri, "one", "RS256")) for _ in range(5)]
            while not all(one.done() for one in waiting):
                before = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - before)
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            # What was answered well, and has no key for the token, is an answer.
            expected = NotVerified if fault == "no keys" or fault in keys else ProviderUnavailable
            assert {type(one) for one in outcomes} == {expected}
            assert publisher.asked == 1, "who waited does not ask again"
            assert time.monotonic() - began < 3
            # Others go on meanwhile.
            assert longest < 0.5

    asyncio.run(walk())


def test_a_key_that_was_withdrawn_serves_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(jwks, "_AGAIN_SECONDS", 0.0)

    async def walk() -> None:
        async with published() as (publisher, keysets):
            await keysets.find(publisher.uri, "one", "RS256")
            publisher.keys = []
            with pytest.raises(NotVerified):
                await keysets.find(publisher.uri, "one", "RS256")

    asyncio.run(walk())


def test_a_key_serves_for_what_it_is_published_for() -> None:
    async def walk() -> None:
        async with published() as (publisher, keysets):
            publisher.keys = [
                {"kty": "AKP", "kid": "future", "pub": "AA"},
                {**ONE.as_dict(private=True), "alg": "PS256"},
                CURVE.as_dict(private=False),
            ]
            assert not (await keysets.find(publisher.uri, "one", "PS256")).is_private
            assert (await keysets.find(publisher.uri, None, "ES256")).kid == "curve"
            for kid, algorithm in (("one", "RS256"), ("curve", "ES384"), ("curve", "RS256"), ("future", "ES256")):
                with pytest.raises(NotVerified):
                    await keysets.find(publisher.uri, kid, algorithm)

    asyncio.run(walk())
