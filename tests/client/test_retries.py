"""What is sent again and what is not, against stand-in answers."""

from datetime import timedelta
from email.utils import format_datetime

import httpx
import pytest

from intaglio_client.errors import (
    ClientError,
    ContentRefused,
    Forbidden,
    RateLimited,
    ServiceFault,
    UnexpectedAnswer,
    Unreachable,
)
from intaglio_client.exchange import NOTHING, Ask, Reply, Retries, Wait, answered, retry_after

from .conftest import START, Answers, Caller, problem

QUOTA = "/quotas/signatures"
LOST = httpx.ReadError("connection reset")
CLOSED = httpx.RemoteProtocolError("Server disconnected without sending a response.")
UNBORN = httpx.ConnectError("refused")


@pytest.mark.parametrize("failure", [LOST, CLOSED, UNBORN, httpx.ReadTimeout("slow"), httpx.PoolTimeout("full")])
def test_a_read_without_answer_is_repeated(call: Caller, answers: Answers, failure: Exception) -> None:
    answers.will(QUOTA, failure, failure, failure)
    assert call("quota", "signatures") == 7
    assert answers.count(QUOTA) == 4


def test_repeating_has_an_end(call: Caller, answers: Answers) -> None:
    answers.will(QUOTA, *[LOST] * 9)
    with pytest.raises(Unreachable, match=r"sign\.example:8443") as caught:
        call("quota", "signatures")
    assert caught.value.sent
    assert answers.count(QUOTA) == 4


def test_a_login_without_answer_is_repeated(call: Caller, answers: Answers) -> None:
    answers.will("/login", LOST, UNBORN)
    assert call("quota", "signatures") == 7
    assert answers.count("/login") == 3


def test_an_identity_that_may_have_been_made_is_not_asked_for_again(call: Caller, answers: Answers) -> None:
    answers.will("/identity", LOST)
    with pytest.raises(Unreachable):
        call("identity")
    assert answers.count("/identity") == 1


def test_an_identity_request_that_never_left_is_repeated(call: Caller, answers: Answers) -> None:
    answers.will("/identity", UNBORN, UNBORN)
    assert call("identity").id == "identity-1"


@pytest.mark.parametrize("status", [429, 503])
def test_turned_away_requests_are_repeated(call: Caller, answers: Answers, status: int) -> None:
    answers.will("/identity", problem(status, "Later.", {"Retry-After": "0"}), problem(status, "Later."))
    assert call("identity").id == "identity-1"
    assert answers.count("/identity") == 3


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_that_got_no_answer_is_asked_again_for_what_may_be_repeated(
    call: Caller, answers: Answers, status: int
) -> None:
    answers.will(QUOTA, problem(status, "No answer."))
    assert call("quota", "signatures") == 7
    answers.will("/identity", problem(status, "No answer."))
    with pytest.raises(ServiceFault):
        call("identity")
    assert answers.count("/identity") == 1


def test_those_told_to_wait_as_long_wait_longer_each_time_and_not_alike() -> None:
    waits: list[list[float]] = []
    for _ in range(20):
        exchange = answered(Ask("GET", QUOTA, {}), Retries(), START)
        next(exchange)
        waits.append([])
        for _ in range(3):
            wait = exchange.send(Reply(429, {"retry-after": "2"}, b""))
            assert isinstance(wait, Wait)
            waits[-1].append(wait.seconds)
            exchange.send(NOTHING)
    assert all(2.1 < first < 2.3 < third < 3.1 for first, _, third in waits)
    assert len({first for first, _, _ in waits}) > 10


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, ServiceFault)])
def test_turned_away_for_good(call: Caller, answers: Answers, status: int, kind: type[ClientError]) -> None:
    answers.will(QUOTA, *[problem(status, "Later.")] * 9)
    with pytest.raises(kind):
        call("quota", "signatures")
    assert answers.count(QUOTA) == 4


def test_a_wait_longer_than_allowed_is_left_to_the_caller(call: Caller, answers: Answers) -> None:
    answers.will(QUOTA, problem(429, "Later.", {"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as caught:
        call("quota", "signatures")
    assert caught.value.retry_after == 3600
    assert answers.count(QUOTA) == 1


@pytest.mark.parametrize(("status", "kind"), [(403, Forbidden), (422, ContentRefused), (500, ServiceFault)])
def test_other_refusals_are_final(call: Caller, answers: Answers, status: int, kind: type[ClientError]) -> None:
    answers.will("/identity", problem(status, "No."))
    with pytest.raises(kind):
        call("identity")
    assert answers.count("/identity") == 1


def test_a_redirect_is_not_followed(call: Caller, answers: Answers) -> None:
    answers.will(QUOTA, httpx.Response(307, headers={"Location": "https://elsewhere.example/"}))
    with pytest.raises(UnexpectedAnswer, match="307"):
        call("quota", "signatures")
    assert {request.url.host for request in answers.requests} == {"sign.example"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (format_datetime(START + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(START - timedelta(seconds=90), usegmt=True), 0.0),
        ("", None),
        ("-3", None),
        ("soon", None),
        ("\N{SUPERSCRIPT TWO}", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after(Reply(429, {"retry-after": text}, b""), START) == seconds
