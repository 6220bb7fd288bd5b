"""What the listeners take, refuse and cut off, judged from raw sockets."""

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from intaglio.server.protocol import Limits

Converse = Callable[..., bytes]
Listen = Callable[..., int]

_HOST = b"Host: a\r\n"
_LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def _status(got: bytes) -> int:
    return int(got.split(b" ", 2)[1])


def _answers(got: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Split what came into statuses and JSON bodies."""
    answers = []
    while got:
        head, _, rest = got.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields[b"content-length"])
        answers.append((_status(head), json.loads(rest[:length])))
        got = rest[length:]
    return answers


def _post(*fields: bytes, body: bytes = b"", path: bytes = b"/", version: bytes = b"1.1") -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"POST " + path + b" HTTP/" + version + b"\r\n" + _HOST + lines + b"\r\n" + body


# What two readers may frame differently; behind each stands a request that must never be answered.
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
_CHUNKED = b"Transfer-Encoding: chunked"
AMBIGUOUS = {
    "content-length and chunked": _post(b"Content-Length: 5", _CHUNKED, body=b"0\r\n\r\n"),
    "chunked and content-length": _post(_CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"),
    "two lengths": _post(b"Content-Length: 3", b"Content-Length: 4", body=b"abc"),
    "one length twice": _post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    "list of lengths": _post(b"Content-Length: 3, 3", body=b"abc"),
    "signed length": _post(b"Content-Length: +3", body=b"abc"),
    "negative length": _post(b"Content-Length: -3", body=b"abc"),
    "hexadecimal length": _post(b"Content-Length: 0x3", body=b"abc"),
    "length with underscore": _post(b"Content-Length: 0_3", body=b"abc"),
    "empty length": _post(b"Content-Length:", body=b"abc"),
    "overflowing length": _post(b"Content-Length: 18446744073709551619", body=b"abc"),
    "identity coding": _post(b"Transfer-Encoding: identity"),
    "gzip coding": _post(b"Transfer-Encoding: gzip"),
    "gzip, chunked": _post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked, gzip": _post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "chunked twice": _post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "two codings in two fields": _post(b"Transfer-Encoding: gzip", _CHUNKED, body=b"0\r\n\r\n"),
    "chunked, then identity": _post(_CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "almost chunked": _post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "vertical tab before chunked": _post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "quoted chunked": _post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "chunked in HTTP/1.0": _post(_CHUNKED, body=b"0\r\n\r\n", version=b"1.0"),
    "folded field": _post(b"X: a\r\n b"),
    "folded coding": _post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"),
    "bare CR in a value": _post(b"X: a\rTransfer-Encoding: chunked"),
    "bare LF in a value": _post(b"X: a\nTransfer-Encoding: chunked"),
    "bare LF at the end": b"GET / HTTP/1.1\nHost: a\n\n",
    "space before the colon": _post(b"Content-Length : 3", body=b"abc"),
    "tab before the colon": _post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"),
    "space before the first field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "field without colon": _post(b"Content-Length"),
    "field without name": _post(b": 3"),
    "NUL in a value": _post(b"X: a\0b"),
    "NUL in a name": _post(b"X\0: a"),
    "control character in a value": _post(b"X: a\x01b"),
    "NUL in the URL": b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the URL": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes above ASCII in the URL": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "negative chunk": _post(_CHUNKED, body=b"-1\r\na\r\n0\r\n\r\n"),
    "chunk with 0x": _post(_CHUNKED, body=b"0x1\r\na\r\n0\r\n\r\n"),
    "chunk with a space": _post(_CHUNKED, body=b"1 \r\na\r\n0\r\n\r\n"),
    "chunk that ends in LF": _post(_CHUNKED, body=b"1\na\n0\n\n"),
    "LF in a chunk extension": _post(_CHUNKED, body=b"1;a\nb\r\na\r\n0\r\n\r\n"),
    "overflowing chunk": _post(_CHUNKED, body=b"fffffffffffffffff\r\na\r\n0\r\n\r\n"),
    "chunk that is longer than it says": _post(_CHUNKED, body=b"1\r\nabc\r\n0\r\n\r\n"),
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2 without TLS": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_two_readers_may_read_differently_is_refused_and_the_connection_closed(
    sent: bytes, listening: Listen, conversation: Converse
) -> None:
    got = conversation(listening(), sent + _SMUGGLED)
    answers = _answers(got)
    assert [status for status, _ in answers] == [400]
    assert b"content-type: application/problem+json;charset=utf-8\r\n" in got
    assert b"connection: close\r\n" in got


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9"])
def test_other_versions_are_refused(version: bytes, listening: Listen, conversation: Converse) -> None:
    assert _status(conversation(listening(), b"GET / " + version + b"\r\n" + _HOST + b"\r\n")) == 505


TOO_MUCH = {
    "url": (b"GET /" + b"a" * 300 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "url without end": (b"GET /" + b"a" * 3000, 414),
    "field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 3000 + b"\r\n\r\n", 431),
    "field without end": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 3000, 431),
    "fields in sum": (b"GET / HTTP/1.1\r\nHost: a\r\n" + (b"X: " + b"a" * 300 + b"\r\n") * 8 + b"\r\n", 431),
    "number of fields": (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 17 + b"\r\n", 431),
    "empty lines": (b"\r\n" * 1100, 431),
    "stated length": (_post(b"Content-Length: 1025"), 413),
    "stated length with a body": (_post(b"Content-Length: 90000", body=b"a" * 90000), 413),
    "chunked body": (_post(_CHUNKED, body=b"401\r\n" + b"a" * 1025 + b"\r\n0\r\n\r\n"), 413),
    "chunked body without end": (_post(_CHUNKED, body=b"fffff\r\n" + b"a" * 90000), 413),
    "trailer fields": (_post(_CHUNKED, body=b"0\r\n" + b"X: a\r\n" * 400 + b"\r\n"), 431),
}


@pytest.mark.parametrize(("sent", "status"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_what_is_too_large_is_refused(sent: bytes, status: int, listening: Listen, conversation: Converse) -> None:
    answers = _answers(conversation(listening(), sent))
    assert [status for status, _ in answers] == [status]
    assert answers[0][1]["errors"]
    assert answers[0][1]["id"]


def test_what_never_calls_back_is_counted_as_it_comes(listening: Listen) -> None:
    with socket.create_connection(("127.0.0.1", listening()), 5) as connection:
        connection.sendall(_post(_CHUNKED, body=b"1;"))
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 # which of the sends fails is not ours to say
            for _ in range(2000):
                connection.sendall(b"a" * 1024)
                time.sleep(0.001)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX-", id="head"),
        pytest.param(b"\r\n", id="empty line"),
        pytest.param(_post(b"Content-Length: 10", body=b"abc"), id="body"),
        pytest.param(_post(_CHUNKED, body=b"5\r\nab"), id="chunk"),
        pytest.param(_post(_CHUNKED, body=b"0\r\nX: "), id="trailer"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_half_a_request_is_cut_off_in_time(sent: bytes, listening: Listen, conversation: Converse) -> None:
    began = time.monotonic()
    got = conversation(listening(), sent)
    assert 0.3 < time.monotonic() - began < 1.5
    assert not got or _status(got) == 408
    assert bool(got) == bool(sent.strip())


@pytest.mark.parametrize("trickle", [b"X: a\r\n", b"\r\n"])
def test_a_trickle_buys_no_time(trickle: bytes, listening: Listen) -> None:
    began = time.monotonic()
    first = b"GET / HTTP/1.1\r\nHost: a\r\n" if trickle.strip() else b""
    with socket.create_connection(("127.0.0.1", listening()), 5) as connection:
        connection.sendall(first)
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 # which of the sends fails is not ours to say
            for _ in range(60):
                connection.sendall(trickle)
                time.sleep(0.05)
    assert time.monotonic() - began < 2


def test_a_trickle_between_requests_buys_no_time(listening: Listen) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", listening()), 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1 << 16)
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 # which of the sends fails is not ours to say
            for _ in range(60):
                connection.sendall(b"\r\n")
                time.sleep(0.05)
    assert time.monotonic() - began < 2


def test_an_idle_connection_outlives_the_time_for_a_head_and_ends_with_keep_alive(listening: Listen) -> None:
    with socket.create_connection(("127.0.0.1", listening()), 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1 << 16)
        time.sleep(0.6)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1 << 16)
        began = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.8 < time.monotonic() - began < 2


def test_a_body_in_time_is_taken_in_pieces(listening: Listen, conversation: Converse) -> None:
    pieces = [bytes([octet]) for octet in _post(_CHUNKED, body=b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")]
    ((status, told), _) = _answers(conversation(listening(), *pieces, _LAST))
    assert (status, told["body"]) == (200, "abcde")


def test_the_largest_body_and_head_are_taken(listening: Listen, conversation: Converse) -> None:
    sent = _post(b"Content-Length: 1024 ", b"X: " + b"a" * 1500, body=b"a" * 1024)
    assert [status for status, _ in _answers(conversation(listening(), sent + _LAST))] == [200, 200]


def test_trailer_fields_do_not_become_header_fields(listening: Listen, conversation: Converse) -> None:
    sent = _post(_CHUNKED, body=b"0\r\nAuthorization: Bearer x\r\n\r\n")
    ((_, told), _) = _answers(conversation(listening(), sent + _LAST))
    assert told["fields"] == ["host", "transfer-encoding"]


def test_pipelined_requests_are_answered_in_order(listening: Listen, conversation: Converse) -> None:
    sent = [_post(b"Content-Length: 2", body=b"ab", path=b"/slow"), b"GET /two HTTP/1.1\r\nHost: a\r\n\r\n", _LAST]
    answers = _answers(conversation(listening(), b"".join(sent)))
    assert [(told["path"], told["body"]) for _, told in answers] == [("/slow", "ab"), ("/two", ""), ("/last", "")]


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        pytest.param(b"NONSENSE\r\n\r\n", 400, id="nonsense"),
        pytest.param(_post(b"Content-Length: 5000"), 413, id="too large"),
        pytest.param(_post(_CHUNKED, body=b"fff\r\n" + b"a" * 1100), 413, id="too large, chunked"),
        pytest.param(_post(_CHUNKED, body=b"x\r\n"), 400, id="bad chunk"),
    ],
)
def test_a_refusal_waits_for_the_responses_before_it(
    bad: bytes, status: int, listening: Listen, conversation: Converse
) -> None:
    sent = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n" + bad + _SMUGGLED
    answers = _answers(conversation(listening(), sent))
    assert [answer[0] for answer in answers] == [200, 200, status]
    assert [told["path"] for _, told in answers[:2]] == ["/slow", "/two"]


def test_a_refusal_waits_when_the_bad_request_comes_later(listening: Listen, conversation: Converse) -> None:
    answers = _answers(conversation(listening(), b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", b"NONSENSE\r\n\r\n"))
    assert [status for status, _ in answers] == [200, 400]


def test_too_many_pipelined_requests_end_with_the_last_that_was_taken(
    listening: Listen, conversation: Converse
) -> None:
    sent = b"".join(b"GET /slow HTTP/1.1\r\nHost: a\r\nX: %d\r\n\r\n" % number for number in range(9))
    got = conversation(listening(), sent)
    assert got.count(b"HTTP/1.1 200") == 5  # one that runs, four that wait
    assert got.count(b"connection: close") == 1


def test_a_queued_half_request_has_its_time_once_it_is_read(listening: Listen) -> None:
    with socket.create_connection(("127.0.0.1", listening()), 5) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + _post(b"Content-Length: 4", body=b"ab"))
        time.sleep(0.7)
        connection.sendall(b"cd" + _LAST)
        got = b""
        while piece := connection.recv(1 << 16):
            got += piece
    assert [told["body"] for _, told in _answers(got)] == ["", "abcd", ""]


def test_an_answer_before_the_body_keeps_the_connection(listening: Listen) -> None:
    with socket.create_connection(("127.0.0.1", listening()), 5) as connection:
        connection.sendall(_post(b"Content-Length: 4", body=b"ab", path=b"/early"))
        first = connection.recv(1 << 16)
        connection.sendall(b"cd")
        time.sleep(0.6)
        connection.sendall(_LAST)
        got = first
        while piece := connection.recv(1 << 16):
            got += piece
    assert [told["path"] for _, told in _answers(got)] == ["/early", "/last"]


def test_an_answer_before_a_body_that_never_comes_is_the_only_one(listening: Listen, conversation: Converse) -> None:
    answers = _answers(conversation(listening(), _post(b"Content-Length: 4", path=b"/early")))
    assert [status for status, _ in answers] == [200]


def test_an_upgrade_is_not_taken_and_loses_nothing(listening: Listen, conversation: Converse) -> None:
    upgrade = b"GET /one HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    answers = _answers(conversation(listening(), upgrade + upgrade + _LAST))
    assert [told["path"] for _, told in answers] == ["/one", "/one", "/last"]


def test_what_follows_the_last_request_is_dropped(listening: Listen, conversation: Converse) -> None:
    answers = _answers(conversation(listening(), _LAST + b"\r\n" + _SMUGGLED))
    assert [told["path"] for _, told in answers] == ["/last"]


def test_a_client_that_waits_for_continue_gets_it(listening: Listen) -> None:
    with socket.create_connection(("127.0.0.1", listening()), 5) as connection:
        connection.sendall(_post(b"Content-Length: 2", b"Expect: 100-continue"))
        assert connection.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert b'"body": "ab"' in connection.recv(1 << 16)


def test_a_body_that_is_announced_too_large_is_refused_instead_of_continued(
    listening: Listen, conversation: Converse
) -> None:
    assert _status(conversation(listening(), _post(b"Content-Length: 5000", b"Expect: 100-continue"))) == 413


def test_old_clients_are_served(listening: Listen, conversation: Converse) -> None:
    answers = _answers(conversation(listening(), b"GET /old HTTP/1.0\r\n\r\n"))
    assert answers[0][1]["path"] == "/old"


def test_a_post_without_a_length_reaches_the_application(listening: Listen, conversation: Converse) -> None:
    answers = _answers(conversation(listening(), _post(path=b"/bare") + _LAST))
    assert [told["path"] for _, told in answers] == ["/bare", "/last"]


def test_a_client_that_does_not_read_its_answer_is_cut_off(listening: Listen) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", listening()))
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1)
        got = 0
        while piece := connection.recv(1 << 20):
            got += len(piece)
    assert 0 < got < 32 << 20


def test_a_refused_upload_can_be_answered(listening: Listen, quick: Limits) -> None:
    """A socket closed with bytes unread takes the answer with it; the listener reads on for a while."""
    limits = msgspec.structs.replace(quick, linger_seconds=1.0)
    with socket.create_connection(("127.0.0.1", listening(limits=limits)), 5) as connection:
        connection.sendall(_post(b"Content-Length: 500000"))
        for _ in range(50):
            connection.sendall(b"a" * 10_000)
            time.sleep(0.002)
        assert _status(connection.recv(1 << 16)) == 413


def test_more_connections_than_allowed_are_refused(listening: Listen, conversation: Converse) -> None:
    port = listening(connections=2)
    with (
        socket.create_connection(("127.0.0.1", port), 5, ("127.0.0.8", 0)) as first,
        socket.create_connection(("127.0.0.1", port), 5, ("127.0.0.9", 0)) as second,
    ):
        for connection in (first, second):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert _status(connection.recv(1 << 16)) == 200
        # Had they been idle for longer, the first would give way.
        with socket.create_connection(("127.0.0.1", port), 5) as third:
            assert third.recv(1) == b""
    time.sleep(0.1)
    assert _status(conversation(port, _LAST)) == 200
