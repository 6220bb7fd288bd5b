"""A served process whose clock steps and drifts: it refuses what it cannot vouch for, says so, and recovers."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import pytest

from commands import run
from intaglio.clock import SystemClock
from intaglio.clock.agreement import Verdict
from intaglio.clock.oscillator import raw_seconds
from intaglio.clock.trust import Trust
from intaglio.ledger.entry import Event
from intaglio.service import timekeeping
from intaglio.settings import ClockSettings
from served import JOHN_DOE, Partner, Served, make_partner, small_service
from time_servers import TimeServer, time_servers

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), Path("libfaketimeMT.so.1"))
DIGEST = "AB" * 32
PATIENCE_SECONDS = 30


@pytest.fixture(scope="module")
def servers() -> Iterator[list[TimeServer]]:
    with time_servers(4) as made:
        made[3].offset = 7200.0
        yield made


@pytest.fixture(scope="module")
def shift(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that says how far the service's clock is off, as faketime reads it."""
    path = tmp_path_factory.mktemp("shift") / "shift"
    path.write_text("+0")
    return path


@pytest.fixture(scope="module")
def partner(servers: list[TimeServer], shift: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partner]:
    home = tmp_path_factory.mktemp("clock") / "home"
    service = small_service(home)
    with (home / "intaglio.toml").open("a") as settings:
        names = ", ".join(f'"{one.name}"' for one in servers)
        settings.write(f'\n[clock]\nsource = "ntp"\nservers = [{names}]\ncheck_seconds = 2\n')
    made = make_started(service, shift, tmp_path_factory.mktemp("partners") / "p")
    yield made
    made.client.close()
    assert service.stop() == 0


# With the oscillator left alone, faketime breaks clock_nanosleep, by which Python sleeps.
SLEEPING = """
import select
import time

time.sleep = lambda seconds: select.select((), (), (), seconds) and None
"""


def make_started(service: Served, shift: Path, folder: Path) -> Partner:
    (shift.parent / "sitecustomize.py").write_text(SLEEPING)
    # The oscillator is the machine's: that nobody sets it is what the service goes by.
    faked = {
        "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(shift), "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1", "PYTHONPATH": str(shift.parent),
    }  # fmt: skip
    service.environment |= faked
    service.start()
    for name in faked:
        del service.environment[name]
    return make_partner(service, folder, "--kind", "individual", "--test")


def soon(looked: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not looked():
        assert time.monotonic() < ends
        time.sleep(0.2)


def ready(served: Served) -> dict[str, str]:
    found: dict[str, str] = httpx.get(f"{served.public}/readyz").json()["troubles"]
    return found


def reply(served: Served, folder: Path) -> str:
    """Return what openssl says of the answer to its own question."""
    run("openssl", "ts", "-query", "-digest", DIGEST, "-sha256", "-cert", "-out", folder / "query")
    kind = {"content-type": "application/timestamp-query"}
    answer = httpx.post(f"{served.public}/tsa/test", content=(folder / "query").read_bytes(), headers=kind)
    (folder / "reply").write_bytes(answer.content)
    return run("openssl", "ts", "-reply", "-in", folder / "reply", "-text").stdout.decode()


def test_a_clock_that_steps_or_drifts_stamps_and_issues_nothing_until_it_is_right_again(
    partner: Partner, servers: list[TimeServer], shift: Path, tmp_path: Path
) -> None:
    served = partner.served
    # It is off at once by a twelfth of the time since the process began, and by more from then on.
    for place, shown in enumerate(["+5s", "+0 x1.08"]):
        soon(lambda: not ready(served))
        assert "Status: Granted." in reply(served, tmp_path)

        shift.write_text(shown)
        if "x" not in shown:
            # At once, not at the next check.
            assert "time source is not available" in reply(served, tmp_path)
        soon(lambda: "may be off by" in ready(served).get("clock", ""))
        for _ in range(3):
            said = reply(served, tmp_path)
            assert "Status: Rejected." in said
            assert "the TSA's time source is not available" in said
        for refused in partner.get(f"/timestamp/{DIGEST}"), partner.post("/identity", JOHN_DOE):
            body = refused.json()
            assert (refused.status_code, body["errors"]) == (503, {"clock": "cannot be trusted now: try again"})
            assert int(refused.headers["retry-after"]) > 0

        shift.write_text("+0 x1")
        soon(lambda: not ready(served))
        assert "Status: Granted." in reply(served, tmp_path)
        assert partner.post("/identity", JOHN_DOE).status_code == 200
        # Two changes within a second are one to who looks every second.
        soon(lambda: served.log.read_text().count("the clock is trusted:") > place)  # noqa: B023 - called here

    # Each change is an entry, and a request that was refused meanwhile is none. They are shown by their times, which
    # are those of a clock that was wrong.
    changes = [one["kind"] for one in served.intaglio("ledger", "show", "--kind", "clock.")]
    assert sorted(changes) == ["clock.trusted"] * 2 + ["clock.untrusted"] * 2
    assert f"time servers contradicted: {servers[3].name}" in served.log.read_text()


def test_a_source_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    calls: list[object] = []

    def hanging(*_: object) -> Verdict:
        calls.append(None)
        released.wait(PATIENCE_SECONDS)
        return Verdict(time.time(), raw_seconds(), 0.0, 0.0)

    monkeypatch.setattr("intaglio.clock.ntp.look", hanging)
    monkeypatch.setattr(timekeeping, "_PATIENCE_SECONDS", 0.05)
    entries: list[Event] = []

    async def record(event: Event) -> None:
        entries.append(event)

    async def walk() -> None:
        trust = Trust(timedelta(seconds=1), checked=True)
        settings = ClockSettings(source="ntp", servers=["a", "b", "c"])
        kept = timekeeping.Timekeeping(settings, SystemClock(), trust, record)
        await kept.check()
        await kept.check()
        # It is not asked a second time while it has not come back.
        assert (len(calls), trust.trouble(datetime.now(UTC))) == (1, "the time source does not answer")
        released.set()
        for _ in range(PATIENCE_SECONDS * 20):
            await kept.check()
            if trust.trouble(datetime.now(UTC)) is None:
                break
        assert [one.kind for one in entries] == ["clock.untrusted", "clock.trusted"]
        kept.end()

    asyncio.run(walk())


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"source": "ntp"}, "three time servers"),
        ({"source": "ntp", "servers": ["a", "b"]}, "three time servers"),
        ({"source": "ntp", "servers": ["a", "b", "c", "a"]}, "each once"),
        ({"source": "ntp", "servers": ["a", "b", "c", "d"], "agree": 2}, "more than half"),
        ({"source": "ntp", "servers": ["a", "b", "c"], "agree": 4}, "not more than there are"),
        ({"servers": ["a", "b", "c"]}, "source = 'ntp'"),
        ({"source": "chrony", "servers": ["a", "b", "c"]}, "source = 'ntp'"),
        ({"source": "chrony", "chronyd": "-d"}, "chronyd"),
        ({"source": "chrony", "check_seconds": 600}, "silent_seconds"),
        ({"source": "gps"}, "source"),
    ],
)
def test_settings_under_which_nobody_could_tell_are_refused(given: dict[str, object], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.convert(given, ClockSettings)


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("time.example.com", "time.example.com", 123),
        ("time.example.com:1123", "time.example.com", 1123),
        ("192.0.2.1", "192.0.2.1", 123),
        ("2001:db8::123", "2001:db8::123", 123),
        ("[2001:db8::1]:1123", "2001:db8::1", 1123),
        ("[2001:db8::1]", "2001:db8::1", 123),
    ],
)
def test_servers_are_named_with_and_without_a_port(written: str, host: str, port: int) -> None:
    found = timekeeping.server(written)
    assert (found.name, found.host, found.port) == (written, host, port)


def test_each_source_is_asked() -> None:
    assert timekeeping.source_of(ClockSettings()) is None
    asked = timekeeping.source_of(ClockSettings(source="chrony", chronyd="/nowhere/chronyd.sock"))
    assert asked is not None
    assert asked().unheard
