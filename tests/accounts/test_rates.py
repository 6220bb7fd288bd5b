"""Rates: never more than a burst and what time has brought since, whoever asks where and whatever clocks do."""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, update

from cases import cases
from founded import NOW
from intaglio.accounts import quota
from intaglio.accounts.quota import Resource, open_quotas, quotas
from intaglio.accounts.rates import SECOND, SKEW, Limits, Rate, instant, rate
from intaglio.database.schema import metadata
from intaglio.errors import QuotaSpent, RateLimited

START = instant(NOW)
RATES = st.builds(rate, st.sampled_from([0.5, 3, 40, 700, 9999]), st.integers(1, 30))


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.connect() as made:
        open_quotas(made, "a", {})
        open_quotas(made, "poor", {Resource.SIGNATURES: 3})
        yield made
    engine.dispose()


def moment(now: int) -> datetime:
    return NOW + timedelta(microseconds=(now - START) // 1000)


def begin(connection: Connection) -> None:
    connection.execute(update(quotas).values(tat=0, spent=0))


def admit(node: Limits, found: Rate, now: int) -> RateLimited | None:
    """Return the refusal by what the node knows, if it refuses."""
    try:
        node.admit("a", Resource.SIGNATURES, found, moment(now))
    except RateLimited as refusal:
        return refusal
    return None


def ask(connection: Connection, node: Limits, found: Rate, now: int, amount: int) -> int:
    """Ask for so many at once at a node; return how many were had."""
    wanted = [("a", found)] * [admit(node, found, now) for _ in range(amount)].count(None)
    outcomes = quota.spend(connection, Resource.SIGNATURES, wanted, moment(now), node)
    assert all(one is None or isinstance(one, RateLimited) for one in outcomes)
    # The earliest are served first.
    assert outcomes == sorted(outcomes, key=lambda one: one is not None)
    return outcomes.count(None)


def check(had: Sequence[tuple[int, int]], found: Rate, apart: int) -> None:
    """Assert that no window had more than a burst and one for each interval in it; clocks are so far `apart`."""
    for place, (begins, _) in enumerate(had):
        total = 0
        for at, amount in had[place:]:
            total += amount
            assert total <= found.burst + (at - begins + apart) // found.interval


ASKED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=cases(100))
@given(RATES, ASKED, st.tuples(*[st.integers(-1_000_000, 1_000_000)] * 3), st.booleans())
def test_no_window_has_more_than_a_burst_and_what_it_brings(
    connection: Connection, found: Rate, asked: list[tuple[int, int, int]], skews: tuple[int, ...], one_clock: bool
) -> None:
    """Three nodes on one register; `asked` is which, after how many tenths of an interval, and for how many."""
    begin(connection)
    nodes, at, had = [Limits() for _ in range(3)], START, []
    for place, tenths, amount in asked:
        at += tenths * found.interval // 10 // 1000 * 1000
        skew = 0 if one_clock else skews[place] * 1000
        had.append((at, ask(connection, nodes[place], found, at + skew, amount)))
    check(had, found, 0 if one_clock else (max(skews) - min(skews)) * 1000)
    assert quota.read(connection, "a", Resource.SIGNATURES).spent == sum(amount for _, amount in had)


@settings(deadline=None, max_examples=cases(100))
@given(
    RATES,
    st.lists(
        st.tuples(st.sampled_from([0, 0, 0, 1, 4, 6, 60, 3600]), st.integers(0, 40), st.integers(1, 40)), max_size=20
    ),
)
def test_a_clock_that_is_set_back_gives_nothing_away_and_shuts_nobody_out(
    connection: Connection, found: Rate, asked: list[tuple[int, int, int]]
) -> None:
    begin(connection)
    node, at, clock, had = Limits(), START, START, []
    for back, tenths, amount in asked:
        step = tenths * found.interval // 10 // 1000 * 1000
        at, clock = at + step, clock + step - back * SECOND
        had.append((at, ask(connection, node, found, clock, amount)))
    check(had, found, 0)
    # What was known is asked for first, and by it the register is set right, too.
    ask(connection, Limits(), found, clock, 1)
    clock += SKEW + found.interval + 1000
    assert ask(connection, node, found, clock, 1) == 1


@settings(deadline=None, max_examples=cases(100))
@given(RATES, st.lists(st.integers(1, 20), max_size=10), st.integers(0, 60).map(lambda seconds: seconds * SECOND))
def test_who_waits_as_long_as_told_is_served_and_who_waits_longer_has_no_less(
    connection: Connection, found: Rate, asked: list[int], longer: int
) -> None:
    begin(connection)
    node = Limits()
    for amount in asked:
        ask(connection, node, found, START, amount)
    while (refused := admit(node, found, START)) is None:
        pass
    assert refused.retry_after_seconds >= 1
    later = START + refused.retry_after_seconds * SECOND
    other = Limits()
    had = ask(connection, other, found, later, found.burst)
    assert had >= 1
    assert had + ask(connection, other, found, later + longer, found.burst) >= min(
        found.burst, 1 + longer // found.interval
    )


def test_a_control_that_reads_and_then_writes_gives_more(connection: Connection) -> None:
    """The control: nodes that each keep their own count give a burst each."""
    begin(connection)
    found, nodes = rate(1, 10), [Limits() for _ in range(3)]
    assert sum(ask(connection, node, found, START, 20) for node in nodes) == 10
    alone = [admit(node, found, START) for node in [Limits() for _ in range(3)] for _ in range(20)]
    assert alone.count(None) == 30


def test_of_one_process_the_register_refuses_nobody(connection: Connection) -> None:
    begin(connection)
    found, node = rate(100, 5), Limits()
    for step in range(200):
        now = START + step * SECOND // 500
        if admit(node, found, now) is None:
            assert quota.spend(connection, Resource.SIGNATURES, [("a", found)], moment(now), node) == [None]


def test_a_quota_that_is_used_up_is_final_whatever_the_rate(connection: Connection) -> None:
    begin(connection)
    wanted = [("poor", rate(1, 5))] * 8
    outcomes = quota.spend(connection, Resource.SIGNATURES, wanted, NOW, Limits())
    assert [type(one) for one in outcomes] == [type(None)] * 3 + [QuotaSpent] * 5
    begin(connection)
    outcomes = quota.spend(connection, Resource.SIGNATURES, [("poor", rate(1, 2))] * 8, NOW, Limits())
    assert [type(one) for one in outcomes] == [type(None)] * 2 + [RateLimited] * 6


def test_many_who_are_ahead_cost_no_more_than_a_few() -> None:
    """The control is a process that knows of few."""

    def took(ahead: int) -> float:
        node, found = Limits(), rate(1, 5)
        for number in range(ahead):
            node.learn(f"{number}", "x", START + 4 * SECOND)
        begun = time.process_time()
        for number in range(2000):
            node.check(f"new {number}", "x", found, moment(START + number * 1000))
        return time.process_time() - begun

    # Looking through ten thousand costs a hundred times what a check does.
    assert took(20_000) < 20 * took(10)


def test_what_is_learnt_while_others_are_forgotten_is_not_lost() -> None:
    node, found, ahead = Limits(), rate(0.001, 1), START + 10**6 * SECOND
    for number in range(10_000):
        node.learn(f"{number}", "x", ahead)
    learnt = [f"late {number}" for number in range(20_000)]

    def learn() -> None:
        for one in learnt:
            node.learn(one, "x", ahead)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        learning = threading.Thread(target=learn)
        learning.start()
        at = START
        while learning.is_alive():
            at += 2 * SECOND
            node.check("new", "x", found, moment(at))
        learning.join()
    finally:
        sys.setswitchinterval(before)
    for one in learnt:
        with pytest.raises(RateLimited):
            node.check(one, "x", found, moment(at))
