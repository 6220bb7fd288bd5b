"""One line of JSON for each record, without secrets in any part of it."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.logs import STRUCK, AccessLog, JsonFormatter, struck

_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
_SECRET = "0123456789abcdef0123456789abcdef01234567"
_BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ"
_PEM = f"-----BEGIN PRIVATE KEY-----\n{_BODY}\n{_BODY}=\n-----END PRIVATE KEY-----\n"
_OPENSSH = f"-----BEGIN ENCRYPTED PRIVATE KEY-----\r\n{_BODY}"
SECRETS = {
    "token": (_JWT, "c2lnbmF0dXJl"),
    "token without signature": (_JWT.rpartition(".")[0], "eyJzdWIi"),
    "bearer": ("Authorization: Bearer opaque-token/with+more==", "opaque"),
    "bearer in capitals": ("BEARER opaque-token/with+more==", "opaque"),
    "api secret": (_SECRET, "0123456789abcdef"),
    "api secret in capitals": (f"secret={_SECRET.upper()}!", "0123456789ABCDEF"),
    "private key": (_PEM, "MIIEv"),
    "private key cut off": (_OPENSSH, "MIIEv"),
    "password in a URL": ("postgresql+asyncpg://intaglio:hunter2@db/intaglio", "hunter2"),
}


@pytest.fixture
def written() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger and what it wrote."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("intaglio.test")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)
    handler.close()


def _line(stream: io.StringIO) -> dict[str, Any]:
    text = stream.getvalue()
    assert text.count("\n") == 1
    line: dict[str, Any] = json.loads(text)
    return line


@pytest.mark.parametrize(("secret", "telling"), SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize("place", ["message", "argument", "extra", "nested extra", "object", "exception"])
def test_a_secret_leaves_in_no_part_of_a_line(
    place: str, secret: str, telling: str, written: tuple[logging.Logger, io.StringIO]
) -> None:
    logger, stream = written
    if place == "message":
        logger.warning(f"before {secret} after")  # noqa: G004 # a message made by somebody else
    elif place == "argument":
        logger.warning("before %s after", secret)
    elif place == "extra":
        logger.warning("x", extra={"what": secret})
    elif place == "nested extra":
        logger.warning("x", extra={"what": {"list": [secret]}})
    elif place == "object":
        logger.warning("x", extra={"what": ValueError(secret)})
    else:
        logger.error("x", exc_info=ValueError(secret))
    assert STRUCK in stream.getvalue()
    assert telling not in stream.getvalue()
    assert _line(stream)["level"] in {"WARNING", "ERROR"}


@pytest.mark.parametrize("name", ["password", "api_secret", "authorization", "pin"])
def test_what_is_logged_under_a_secret_name_is_struck_out(
    name: str, written: tuple[logging.Logger, io.StringIO]
) -> None:
    logger, stream = written
    logger.info("x", extra={name: "short"})
    assert _line(stream)[name] == STRUCK


@pytest.mark.parametrize(
    "text",
    [
        "POST /v2/login 200",
        "GET /v2/identity/0123456789abcdef0123456789abcdef/sign/" + "0123456789ABCDEF" * 4,
        "a bearer token is required",
        "https://localhost:8443/v2 and http://[::1]:8080/ocsp",
        "-----BEGIN CERTIFICATE-----",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert struck(text) == text


def test_a_line_says_when_how_grave_where_what_and_the_extras(
    written: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = written
    logger.info("%s %s", "GET", "/a\n\x00", extra={"request_id": "ab", "status": 200, "milliseconds": 1.5, "at": None})
    line = _line(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("time"))
    assert line == {
        "level": "INFO",
        "logger": "intaglio.test",
        "message": "GET /a\n\x00",
        "request_id": "ab",
        "status": 200,
        "milliseconds": 1.5,
        "at": None,
    }


class _Unwritable:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("extra", [_Unwritable(), "\ud800", 1 << 70, {(1,): _Unwritable()}, float("nan"), b"\xff"])
def test_what_cannot_be_encoded_loses_no_line(extra: object, written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    logger.info("kept", extra={"odd": extra})
    assert _line(stream)["message"] == "kept"


def test_arguments_that_do_not_fit_are_not_shown() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, "%s %s", (_SECRET,), None)
    assert json.loads(JsonFormatter().format(record))["message"] == "%s %s (its arguments do not fit)"


@given(st.text(), st.sampled_from([secret for secret, _ in SECRETS.values()]), st.text())
def test_striking_out_leaves_json(before: str, secret: str, after: str) -> None:
    record = logging.LogRecord("a", logging.INFO, "", 0, before + secret + after, None, None)
    assert json.loads(JsonFormatter().format(record))["logger"] == "a"


def test_the_access_log_writes_the_lines_of_a_turn_together_and_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def answer() -> None:
        log, silent = AccessLog(wanted=True), AccessLog(wanted=False)
        for path in (f"/v2/{_SECRET}", "/v2/plain", f"/v2/{_JWT}"):
            log.tell(f"GET {path}", "r1", 200, 0.0125, "a1", "other")
            silent.tell(f"GET {path}", "r1", 200, 0.0125, "a1", "other")
        assert capsys.readouterr().err == ""
        await asyncio.sleep(0)
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        paths = (f"/v2/{STRUCK}", "/v2/plain", f"/v2/{STRUCK}")
        assert [line["message"] for line in lines] == [f"GET {path}" for path in paths]
        assert {(line["milliseconds"], line["account"], line["status"]) for line in lines} == {(12.5, "a1", 200)}
        log.tell("GET /later", "r2", 404, 0.001, None, "other", "NotFound")
        await asyncio.sleep(0)
        line = json.loads(capsys.readouterr().err)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("time"))
        assert line == {
            "level": "INFO",
            "logger": "intaglio.access",
            "message": "GET /later",
            "operation": "other",
            "request_id": "r2",
            "status": 404,
            "milliseconds": 1.0,
            "account": None,
            "reason": "NotFound",
        }

    asyncio.run(answer())
