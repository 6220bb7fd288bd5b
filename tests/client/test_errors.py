"""Problem documents as errors, against stand-in answers."""

import httpx
import pytest

from intaglio_client import errors
from intaglio_client.errors import ClientError, ContentRefused, Refused

from .conftest import Answers, Caller, problem

KINDS = {
    400: errors.Malformed,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.Malformed,
    409: errors.Refused,
    411: errors.Malformed,
    413: errors.Malformed,
    415: errors.Malformed,
    418: errors.Refused,
    422: errors.ContentRefused,
    429: errors.RateLimited,
    500: errors.ServiceFault,
    502: errors.ServiceFault,
    503: errors.ServiceFault,
    504: errors.ServiceFault,
}


@pytest.mark.parametrize(("status", "kind"), KINDS.items())
def test_every_status_is_its_kind_of_refusal(call: Caller, answers: Answers, status: int, kind: type[Refused]) -> None:
    answers.will("/identity", *[problem(status, "No.") for _ in range(4)])
    with pytest.raises(Refused) as caught:
        call("identity")
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_every_refused_field_is_named(call: Caller, answers: Answers) -> None:
    fields = {"subject_dn.pseudonym": "is forbidden", "subject_dn.country": "is required"}
    answers.will("/identity", problem(422, "Refused by the validation policy.", errors=fields))
    with pytest.raises(ContentRefused) as caught:
        call("identity")
    assert caught.value.errors == fields
    assert caught.value.id == "req-1"
    assert caught.value.description == "Refused by the validation policy."
    assert str(caught.value) == (
        "Refused by the validation policy. (subject_dn.country: is required; subject_dn.pseudonym: is forbidden)"
        " [HTTP 422, request req-1]"
    )


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b"[1]", b'{"errors": 3}', b"\xff\xfe", b'{"description": null}']
)
def test_a_refusal_that_is_no_problem_document_is_a_refusal_still(call: Caller, answers: Answers, body: bytes) -> None:
    answers.will("/identity", httpx.Response(502, content=body))
    with pytest.raises(errors.ServiceFault, match="refused the request"):
        call("identity")


def test_members_of_the_standard_do_where_ours_are_missing(call: Caller, answers: Answers) -> None:
    answers.will("/identity", httpx.Response(400, json={"title": "Bad", "detail": "Not JSON.", "errors": {"a": [1]}}))
    with pytest.raises(errors.Malformed, match=r"Not JSON\. \(a: \[1\]\)"):
        call("identity")


def test_every_error_says_what_to_do() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ClientError)]
    assert len(kinds) > 12
    assert all(kind.hint.endswith(".") for kind in kinds)
    own = [kind for kind in kinds if kind is not ClientError]
    assert all("hint" in vars(kind) for kind in own)


def test_secrets_are_in_no_representation(call: Caller, answers: Answers) -> None:
    token = call("login")
    assert token.text not in repr(token)
    assert answers.token(1) == token.text
