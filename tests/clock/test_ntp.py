"""The clock held against time servers: what they agree on, whoever lies, and what is believed for how long."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import cases
from intaglio.clock import ntp
from intaglio.clock.agreement import Reading, Verdict, agreed
from intaglio.clock.trust import Trust
from intaglio.errors import ClockUntrusted
from time_servers import TimeServer, stamp, time_servers

# For tests in which somebody says nothing.
PATIENCE = 0.5
# What a machine with other things to do may take to answer itself.
SLOW = 0.5


@pytest.fixture
def servers() -> Iterator[list[TimeServer]]:
    with time_servers(4) as made:
        yield made


def ask(servers: list[TimeServer], needed: int = 3) -> Verdict:
    return ntp.look(
        [ntp.Server(one.name, "127.0.0.1", int(one.name.split(":")[1])) for one in servers], needed, PATIENCE
    )


def test_the_offset_is_found_and_is_within_its_bounds(servers: list[TimeServer]) -> None:
    for one in servers:
        one.offset = 7.25
    found = ask(servers)
    assert found.low <= 7.25 <= found.high
    assert found.high - found.low < SLOW
    assert (found.why, found.wrong, found.silent) == ("", (), ())


def test_a_liar_is_named_and_moves_nothing(servers: list[TimeServer]) -> None:
    servers[1].offset = -3600
    found = ask(servers)
    assert -SLOW < found.low <= 0 <= found.high < SLOW
    assert found.wrong == (servers[1].name,)


def test_a_server_that_does_not_know_itself_counts_for_what_it_says(servers: list[TimeServer]) -> None:
    for one in servers:
        one.dispersion = 3.0
    assert ask(servers).high >= 3.0


@pytest.mark.parametrize(
    ("attribute", "value"), [("silent", True), ("leap", 3), ("stratum", 0), ("stratum", 16), ("foreign", True)]
)
def test_what_is_no_answer_counts_as_silence(servers: list[TimeServer], attribute: str, value: int) -> None:
    for one in servers[:2]:
        setattr(one, attribute, value)
    found = ask(servers)
    assert found.silent == tuple(one.name for one in servers[:2])
    assert found.unheard
    assert "2 of 4 time servers answered" in found.why


def test_servers_that_contradict_each_other_say_that_nobody_knows(servers: list[TimeServer]) -> None:
    for place, one in enumerate(servers):
        one.offset = 10.0 * place
    found = ask(servers)
    assert (found.low, found.high, found.unheard) == (float("-inf"), float("inf"), False)
    assert "agree" in found.why


def test_the_next_era_of_ntp_is_understood() -> None:
    # 2036-02-07 06:28:16 is where the seconds of NTP begin anew.
    begun = 2_085_978_496.0
    now = stamp(begun + 0.5)
    assert now >> 32 < 10
    packet = ntp._PACKET.pack(0x24, 1, 6, -20, 0, 0, bytes(4), now, 5, now, now)
    found = ntp.read(packet, "x", 5, 1.0, 1.0, begun - 2.0)
    assert found is not None
    assert found.offset == pytest.approx(1.5)


@settings(max_examples=cases(300), deadline=None)
@given(
    st.floats(-5, 5),
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 1)), min_size=3, max_size=7),
    st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 9)), max_size=3),
)
def test_the_truth_is_within_what_a_majority_agrees_on(
    truth: float, honest: list[tuple[float, float]], liars: list[tuple[float, float]]
) -> None:
    liars = liars[: (len(honest) - 1)]
    readings = [Reading("h", truth + off * error, error + 1e-9) for off, error in honest]
    readings += [Reading("l", *one) for one in liars]
    found = agreed(readings, len(readings) // 2 + 1)
    assert found is not None
    assert found[0] <= truth <= found[1]


@pytest.mark.parametrize(("needed", "expected"), [(2, (0.0, 2.0)), (3, None), (1, (-1.0, 3.0))])
def test_bounds_reach_over_all_that_enough_hold_possible(needed: int, expected: tuple[float, float] | None) -> None:
    readings = [Reading("a", 0, 1), Reading("b", 1, 1), Reading("c", 2.25, 0.75)]
    assert agreed(readings, needed) == expected


class Counted:
    """A clock and its oscillator, moved by hand."""

    def __init__(self, **options: float) -> None:
        self.raw, self.wall = 100.0, datetime(2026, 10, 1, tzinfo=UTC).timestamp()
        silence = timedelta(seconds=options.get("silence", 300))
        self.trust = Trust(timedelta(seconds=1), checked=True, silence=silence, raw=lambda: self.raw)

    def verdict(self, low: float = -0.01, high: float = 0.01, **more: object) -> None:
        self.trust.take(Verdict(self.wall, self.raw, low, high, **more))  # type: ignore[arg-type]

    def passes(self, seconds: float, shown: float | None = None) -> None:
        self.raw += seconds
        self.wall += seconds if shown is None else shown

    def trouble(self) -> str | None:
        return self.trust.trouble(datetime.fromtimestamp(self.wall, UTC))


def test_nothing_is_believed_before_the_first_check_and_everything_when_none_is_wanted() -> None:
    now = datetime.now(UTC)
    with pytest.raises(ClockUntrusted, match="not checked"):
        Trust(timedelta(seconds=1), checked=True).check(now)
    Trust(timedelta(seconds=1), checked=False).check(now)


@pytest.mark.parametrize("step", [-2.0, 2.0, -0.999, 0.999])
def test_a_step_is_noticed_at_once_and_so_is_that_it_was_undone(step: float) -> None:
    clock = Counted()
    clock.verdict()
    clock.passes(10)
    assert clock.trouble() is None
    clock.passes(0, step)
    assert "may be off by" in (clock.trouble() or "")
    clock.passes(0, -step)
    assert clock.trouble() is None


def test_a_clock_that_is_put_right_is_believed_without_another_check() -> None:
    clock = Counted()
    clock.verdict(29.99, 30.01)
    assert clock.trouble() is not None
    clock.passes(60, 90)
    assert clock.trouble() is None


def test_the_doubt_grows_with_the_drift_and_silence_has_an_end() -> None:
    clock = Counted(silence=20_000)
    clock.verdict(-0.5, 0.5)
    clock.passes(4_900)
    assert clock.trouble() is None
    clock.passes(200)
    assert "off by 1.010 s" in (clock.trouble() or "")
    clock = Counted()
    clock.verdict()
    clock.passes(299)
    clock.verdict(float("-inf"), float("inf"), why="nobody answered", unheard=True)
    assert clock.trouble() is None
    clock.passes(2)
    assert clock.trouble() == "nobody answered"


def test_a_source_that_says_that_nobody_knows_is_believed_at_once() -> None:
    clock = Counted()
    clock.verdict()
    clock.verdict(float("-inf"), float("inf"), why="no 3 agree")
    assert clock.trouble() == "no 3 agree"


def test_what_is_certified_is_in_whole_seconds() -> None:
    clock = Counted()
    trust = Trust(timedelta(milliseconds=10), checked=True, raw=lambda: clock.raw)
    trust.take(Verdict(clock.wall, clock.raw, 0.5, 0.5))
    now = datetime.fromtimestamp(clock.wall, UTC)
    trust.check(now, coarse=True)
    with pytest.raises(ClockUntrusted):
        trust.check(now)
    with pytest.raises(ClockUntrusted):
        trust.check(now + timedelta(seconds=2), coarse=True)
