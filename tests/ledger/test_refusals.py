from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from intaglio.ledger.refusals import MOST_OF_ALL, MOST_OF_ONE, WINDOW, Refusals, Source

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
ONE, OTHER = Source("a", "192.0.2.1"), Source(None, "192.0.2.2")


def test_the_first_of_each_source_are_told_alone_and_the_rest_together() -> None:
    refusals = Refusals()
    alone = [refusals.alone(ONE, 401 if number % 3 else 422, NOW) for number in range(MOST_OF_ONE + 30)]
    assert alone == [True] * MOST_OF_ONE + [False] * 30
    assert refusals.alone(OTHER, 401, NOW)
    assert refusals.summaries(NOW) == []
    later = NOW + WINDOW
    [event] = refusals.summaries(later)
    assert (event.kind, event.account_id) == ("request.refused.more", "a")
    assert event.details["count"] == 30
    assert sum(event.details["statuses"].values()) == 30
    # what could not be written is told again
    assert refusals.summaries(later) == [event]
    refusals.written([event])
    assert refusals.summaries(later) == []
    assert refusals.alone(ONE, 401, later)


def test_many_sources_together_write_no_more_than_all_may_and_keep_no_more_than_so_many() -> None:
    refusals = Refusals()
    asked = [Source(None, f"192.0.{number >> 8}.{number & 255}") for number in range(5 * MOST_OF_ALL)]
    assert sum(refusals.alone(one, 401, NOW) for one in asked) == MOST_OF_ALL
    events = refusals.summaries(NOW, all_of_them=True)
    assert len(events) <= MOST_OF_ALL + 1
    assert sum(event.details["count"] for event in events) == 4 * MOST_OF_ALL


@given(
    st.lists(
        st.tuples(st.sampled_from([ONE, OTHER]), st.sampled_from([400, 401, 429]), st.integers(0, 20)), max_size=900
    )
)
def test_every_refusal_is_told_once(asked: list[tuple[Source, int, int]]) -> None:
    refusals, now = Refusals(), NOW
    told: Counter[str] = Counter()
    for source, status, seconds in asked:
        now += timedelta(seconds=seconds) / 10
        if refusals.alone(source, status, now):
            told[str(status)] += 1
        if seconds == 20:
            events = refusals.summaries(now)
            refusals.written(events)
            for event in events:
                told.update(event.details["statuses"])
    for event in refusals.summaries(now, all_of_them=True):
        told.update(event.details["statuses"])
    assert told == Counter(str(status) for _, status, _ in asked)
