"""Logging in and reusing identities, against stand-in answers."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest

from intaglio_client import AsyncClient, Client
from intaglio_client.answers import token_from
from intaglio_client.errors import NotFound, Unauthenticated, UnexpectedAnswer, Unusable

from .conftest import Answers, Caller, certificate, problem

SIGNER = {"subject_dn": {"common_name": "Jane Doe", "organizational_unit": ["A", "B"]}}
DIGEST = bytes(range(32))


def test_logs_in_by_itself_and_once(call: Caller, answers: Answers) -> None:
    assert call("quota", "signatures") == 7
    assert call("counter", "identities") == 7
    assert answers.logins == 1
    login = answers.requests[0]
    assert login.headers["Content-Type"] == "application/json;charset=utf-8"
    assert login.content == b'{"api_key":"k","api_secret":"s"}'
    assert answers.requests[1].headers["Authorization"] == f"Bearer {answers.token(1)}"


def test_logs_in_again_before_the_token_ends(call: Caller, answers: Answers) -> None:
    call("quota", "signatures")
    answers.now += timedelta(seconds=1800 - 31)
    call("quota", "signatures")
    assert answers.logins == 1
    answers.now += timedelta(seconds=1)
    call("quota", "signatures")
    assert answers.logins == 2


def test_counts_the_tokens_life_from_its_own_clock(answers: Answers) -> None:
    # The issuer's clock is years away; only the difference of iat and exp counts.
    assert token_from(answers.token(1), answers.now).good_until == answers.now + timedelta(seconds=1800)


@pytest.mark.parametrize("text", ["opaque", "a.b.c", "a.bm90IGpzb24.c", "..", "a.e30.c"])
def test_uses_a_token_it_cannot_read(answers: Answers, text: str) -> None:
    assert token_from(text, answers.now).text == text
    assert token_from(text, answers.now).good_until > answers.now


def test_logs_in_again_once_when_the_token_is_refused(call: Caller, answers: Answers) -> None:
    call("quota", "signatures")
    answers.dead_tokens.add(answers.token(1))
    assert call("quota", "signatures") == 7
    assert answers.logins == 2


def test_gives_up_when_a_fresh_token_is_refused(call: Caller, answers: Answers) -> None:
    answers.dead_tokens |= {answers.token(1), answers.token(2), answers.token(3)}
    with pytest.raises(Unauthenticated):
        call("quota", "signatures")
    assert answers.logins == 2
    assert answers.count("/quotas/signatures") == 2


def test_a_refused_login_is_final(call: Caller, answers: Answers) -> None:
    answers.will("/login", problem(401, "Unknown credential."))
    with pytest.raises(Unauthenticated, match="Unknown credential"):
        call("identity", SIGNER)
    assert len(answers.requests) == 1


def test_reuses_an_identity_for_the_same_signer(call: Caller) -> None:
    first = call("identity", SIGNER)
    same = {"subject_dn": {"organizational_unit": ["A", "B"], "common_name": "Jane Doe"}}
    assert call("identity", same) == first
    assert call("identity", {"subject_dn": {"common_name": "John Doe"}}).id == "identity-2"
    assert call("identity", {"subject_dn": {"common_name": "Jane Doe", "organizational_unit": ["B", "A"]}}) != first
    assert call("identity", SIGNER, fresh=True).id == "identity-4"


def test_an_identity_is_not_used_in_its_last_half_minute(call: Caller, answers: Answers) -> None:
    first = call("identity", SIGNER)
    answers.now += timedelta(seconds=599 - 31)
    assert call("identity", SIGNER) == first
    answers.now += timedelta(seconds=1)
    assert call("identity", SIGNER) != first
    assert answers.made == 2


def test_ten_minutes_count_even_when_the_certificate_lives_longer(call: Caller, answers: Answers) -> None:
    long = answers.identity() | {"signing_cert": certificate(answers.now, answers.now + timedelta(days=1))}
    answers.will("/identity", httpx.Response(200, json=long))
    first = call("identity", SIGNER)
    answers.now += timedelta(seconds=600 - 30)
    assert call("identity", SIGNER) != first


def test_identities_that_are_over_are_forgotten(call: Caller, answers: Answers) -> None:
    for number in range(5):
        call("identity", {"subject_dn": {"common_name": str(number)}})
    answers.now += timedelta(minutes=11)
    call("identity", SIGNER)
    assert len(call.session.identities) == 1


def test_an_identity_unknown_to_the_service_is_forgotten(call: Caller, answers: Answers) -> None:
    first = call("identity", SIGNER)
    answers.will(f"/identity/{first.id}/sign/{DIGEST.hex().upper()}", problem(404, "Not found."))
    with pytest.raises(NotFound):
        call("sign", first, DIGEST)
    assert call("identity", SIGNER) != first


def test_signs_a_digest_written_in_upper_case(call: Caller, answers: Answers) -> None:
    made = call("identity", SIGNER)
    assert call("sign", made, DIGEST) == b"\xab" * 256
    assert answers.requests[-1].url.path == f"/v2/identity/{made.id}/sign/{DIGEST.hex().upper()}"


@pytest.mark.parametrize("digest", [b"", bytes(20), bytes(31), bytes(64)])
def test_a_digest_of_another_length_is_not_sent(call: Caller, answers: Answers, digest: bytes) -> None:
    with pytest.raises(Unusable, match="32 bytes"):
        call("timestamp", digest)
    assert not answers.requests


@pytest.mark.parametrize(
    ("path", "name", "answer"),
    [
        ("/trustchain", "trustchain", {"trustchain": [], "ocsp_revocation_info": []}),
        ("/trustchain", "trustchain", {"trustchain": ["x"], "ocsp_revocation_info": ["no base64!"]}),
        ("/certificate_path", "certificate_path", {"path": "no PEM"}),
        ("/certificate_path", "certificate_path", {"other": 1}),
        ("/validationpolicy", "validation_policy", ["a", "list"]),
    ],
)
def test_an_answer_that_is_not_one_is_told(call: Caller, answers: Answers, path: str, name: str, answer: Any) -> None:
    answers.will(path, httpx.Response(200, json=answer))
    with pytest.raises(UnexpectedAnswer):
        call(name)


def test_threads_at_once_share_one_login_and_one_identity(answers: Answers) -> None:
    client = Client("https://sign.example", api_key="k", api_secret="s", transport=httpx.MockTransport(answers))
    client.session.clock = lambda: answers.now
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: client.identity(SIGNER).id, range(32)))
    assert made == {"identity-1"}
    assert (answers.logins, answers.made) == (1, 1)


def test_tasks_at_once_share_one_login_and_one_identity(answers: Answers) -> None:
    async def slowly(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.002)
        return answers(request)

    async def together() -> set[str]:
        transport = httpx.MockTransport(slowly)
        async with AsyncClient("https://sign.example", api_key="k", api_secret="s", transport=transport) as client:
            client.session.clock = lambda: answers.now
            return {each.id for each in await asyncio.gather(*(client.identity(SIGNER) for _ in range(32)))}

    assert asyncio.run(together()) == {"identity-1"}
    assert (answers.logins, answers.made) == (1, 1)


def test_a_task_cancelled_while_it_holds_a_lock_lets_the_next_go_on(answers: Answers) -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        if not answers.made and request.url.path == "/v2/identity":
            answers.made += 1
            await asyncio.sleep(60)
        return answers(request)

    async def cancelled() -> str:
        transport = httpx.MockTransport(never)
        async with AsyncClient("https://sign.example", api_key="k", api_secret="s", transport=transport) as client:
            client.session.clock = lambda: answers.now
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.identity(SIGNER), 0.05)
            return (await client.identity(SIGNER)).id

    assert asyncio.run(cancelled()) == "identity-2"
