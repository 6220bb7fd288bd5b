"""Time-stamps of several processes: no serial number twice, and no time before one that was told."""

import asyncio
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asn1crypto.cms
import asn1crypto.tsp
import pytest

from intaglio.accounts import quota
from intaglio.accounts.quota import Resource
from intaglio.clock import ManualClock
from intaglio.errors import ClockUntrusted, StoreUnavailable
from intaglio.pki.der import element
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service.composition import Service, running
from intaglio.service.home import Home
from intaglio.signing.timestamp import answer_request, stamp_digest
from onboarded import DIGEST, caller, small_home

# TimeStampReq, SHA-256, of 32 octets.
REQUEST = element(
    0x30,
    b"\x02\x01\x01",
    element(0x30, bytes.fromhex("300d06096086480165030402010500"), element(0x04, hashlib.sha256(b"x").digest())),
)
ACCURACY = timedelta(seconds=1)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = small_home(tmp_path / "home")
    yield made
    made.close()


def told(reply: bytes) -> tuple[int, datetime]:
    """Return serial number and genTime of a TimeStampResp."""
    token = asn1crypto.tsp.TimeStampResp.load(reply)["time_stamp_token"]
    info = token["content"]["encap_content_info"]["content"].parsed
    return info["serial_number"].native, info["gen_time"].native


async def stamp(service: Service) -> tuple[int, datetime]:
    return told(await answer_request(service.engine, REQUEST, Hierarchy.TEST, "r"))


class Skewed:
    """The system's clock, so much ahead."""

    def __init__(self, ahead: timedelta) -> None:
        self.ahead = ahead

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def test_what_another_node_told_is_told_again_and_beyond_the_accuracy_nothing_is(home: Home) -> None:
    began = milliseconds(datetime.now(UTC) + timedelta(minutes=1))
    ahead, behind = ManualClock(began), ManualClock(began - ACCURACY - timedelta(milliseconds=1))
    who = caller(home)

    async def walk() -> None:
        async with running(home, ahead) as one, running(home, behind) as other:
            # What has not told anything counts for nothing, however its clock is.
            assert (await stamp(other))[1] == behind.now()
            assert (await stamp(one))[1] == began
            with pytest.raises(ClockUntrusted, match="was told"):
                await stamp(other)
            with pytest.raises(ClockUntrusted, match="was told"):
                await stamp_digest(other.engine, who, DIGEST, "r")
            read = await other.engine.commits.read(lambda c: quota.read(c, who.account.id, Resource.TIMESTAMPS))
            assert read.spent == 0
            # Within the accuracy it is as true as the other.
            behind.advance(timedelta(milliseconds=1))
            assert (await stamp(other))[1] == began
            token = asn1crypto.cms.ContentInfo.load(await stamp_digest(other.engine, who, DIGEST, "r"))
            assert token["content"]["encap_content_info"]["content"].parsed["gen_time"].native == began
            # A step back of its own is the same.
            ahead.advance(-ACCURACY)
            assert (await stamp(one))[1] == began
            ahead.advance(ACCURACY * 2)
            assert (await stamp(one))[1] == began + ACCURACY
        # It is not forgotten when the process that told it ends.
        async with running(home, behind) as later:
            with pytest.raises(ClockUntrusted, match="was told"):
                await stamp(later)

    asyncio.run(walk())


def test_a_token_that_has_left_any_node_is_never_later_than_one_asked_for_after_it(home: Home) -> None:
    made: list[tuple[float, float, datetime]] = []

    async def ask(service: Service, number: int) -> None:
        for _ in range(number):
            begun = time.monotonic()
            _, gen_time = await stamp(service)
            made.append((begun, time.monotonic(), gen_time))

    async def walk() -> None:
        late, early = Skewed(timedelta(milliseconds=-150)), Skewed(timedelta(milliseconds=150))
        async with running(home, late) as one, running(home, early) as other:
            # One after the other, and many at once.
            for _ in range(5):
                await ask(other, 1)
                await ask(one, 1)
            await asyncio.gather(*(ask(at, 5) for at in (one, other) for _ in range(4)))

    asyncio.run(walk())
    assert len(made) == 50
    for _, ended, earlier in made:
        assert all(later >= earlier for begun, _, later in made if begun > ended)


def test_processes_that_draw_the_same_numbers_make_different_serials(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second draws what the first has, and again; then chance says the same to both for good.
    drawn = iter([4711, 4711, 4711, 7])
    monkeypatch.setattr("secrets.randbits", lambda _bits: next(drawn, 5))

    async def walk() -> None:
        async with running(home) as one, running(home) as other:
            made = await asyncio.gather(*(stamp((one, other)[place % 2]) for place in range(20)))
        serials = {serial for serial, _ in made}
        assert len(serials) == 20
        assert {serial.bit_length() for serial in serials} == {159}

    asyncio.run(walk())


def test_without_an_id_of_its_own_a_process_does_not_begin(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbits", lambda _bits: 4711)

    async def walk() -> None:
        async with running(home):
            with pytest.raises(StoreUnavailable, match="repeats itself"):
                async with running(home):
                    pass

    asyncio.run(walk())
