"""Load from a process of its own: raw HTTP/1.1 over keep-alive connections, every answer checked to be 200, or refused.

The process reads a plan, one JSON line, from standard input, connects, and says `{"connections": n}`. Each further
line is a number of requests to make; it answers each with what it made. It ends with its input, or on the first
answer that is neither 200 nor among the refusals that the plan expects, or when the plan's time is over.
"""

import asyncio
import hashlib
import json
import select
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import msgspec
import uvloop


class Plan(msgspec.Struct, frozen=True):
    """What to ask, of whom; a `{digest}` in a target becomes a new SHA-256 each time; `seconds` bounds the whole.

    With a `rate`, requests are due at fixed times, so many a second over all connections, whether or not the service
    keeps up: each is timed from when it was due. Without, each connection asks again as soon as it is answered.
    """

    port: int
    method: str
    targets: list[str]
    headers: dict[str, str] = {}
    body: bytes = b""
    connections: int = 16
    seconds: float = 600.0
    rate: float | None = None
    # Statuses that may be answered, too; they are counted, and their time is not.
    refused: list[int] = []
    server_ca: str | None = None
    certificate: str | None = None
    key: str | None = None


class Made(msgspec.Struct, frozen=True):
    """What one line of input led to: requests, wall seconds, and the seconds of each answer if there was a rate."""

    requests: int
    seconds: float
    latencies: list[float] = []
    refused: int = 0


class Load:
    """The loading process, from the outside."""

    def __init__(self, plan: Plan) -> None:
        self._seconds = plan.seconds
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._ask(msgspec.json.encode(plan))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def run(self, requests: int) -> Made:
        """Make so many requests over all connections; raises `RuntimeError` when one is not answered by 200."""
        return msgspec.convert(self._ask(str(requests).encode()), Made)

    def _ask(self, line: bytes) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the load has no pipes")
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()
        readable, _, _ = select.select([self._process.stdout], [], [], self._seconds + 10)
        answer = json.loads((self._process.stdout.readline() if readable else b"") or b'{"error": "the load ended"}')
        if "error" in answer:
            raise RuntimeError(f"load: {answer['error']}")
        return answer


# The process itself -------------------------------------------------------------------------------


class _Connection(asyncio.Protocol):
    """One request at a time; `done` resolves when this connection has no more to send."""

    def __init__(self, take: Callable[[], bytes | None], refused: Sequence[int]) -> None:
        self._take = take
        self._allowed = {b"HTTP/1.1 %d " % status for status in (200, *refused)}
        self._granted = True
        self.refused = 0
        # Seconds between requests, when the next is due, and how long each took since it was due.
        self.pace: float | None = None
        self.due = 0.0
        self.latencies: list[float] = []
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._missing = 0
        self.answered = 0
        self.done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's TLS transport writes like one but is not derived from asyncio.Transport.
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was under way."""
        self._fail(f"the server closed the connection ({exc})")

    def begin(self) -> asyncio.Future[None]:
        """Begin to send; the future ends with the supply."""
        self.done = asyncio.get_running_loop().create_future()
        self._send()
        return self.done

    def _send(self) -> None:
        request = self._take()
        if request is None:
            if self.done is not None and not self.done.done():
                self.done.set_result(None)
        elif self._transport is None:
            self._fail("not connected")
        elif self.pace is None:
            self._transport.write(request)
        else:
            wait = max(0.0, self.due - time.perf_counter())
            asyncio.get_running_loop().call_later(wait, self._transport.write, request)

    def _fail(self, reason: str) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_exception(RuntimeError(reason))

    def data_received(self, data: bytes) -> None:
        """Count bytes until the answer is whole, then send the next request."""
        if self._missing > 0:
            self._received += data
            self._missing -= len(data)
        else:
            self._received += data
            head, found, body = self._received.partition(b"\r\n\r\n")
            if not found:
                return
            self._granted = head.startswith(b"HTTP/1.1 200 ")
            if head[:13] not in self._allowed:
                self._fail(f"{head[:40]!r}: {body[:400]!r}")
                return
            self._missing = _length(head) - len(body)
        if self._missing == 0:
            self._received = b""
            self.answered += 1
            self.refused += not self._granted
            if self.pace is not None:
                if self._granted:
                    self.latencies.append(time.perf_counter() - self.due)
                self.due += self.pace
            self._send()


def _length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0])


class _Supply:
    """The requests still to be sent, made on demand."""

    def __init__(self, plan: Plan) -> None:
        fields = {"Host": f"localhost:{plan.port}", **plan.headers}
        if plan.body or plan.method == "POST":
            fields["Content-Length"] = str(len(plan.body))
        tail = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._pieces: Sequence[tuple[bytes, bytes]] = [
            (before.encode(), (after + f" HTTP/1.1\r\n{tail}\r\n").encode() + plan.body)
            for before, mark, after in (f"{plan.method} {target}".partition("{digest}") for target in plan.targets)
        ]
        self._digests = any("{digest}" in target for target in plan.targets)
        self._number = 0
        self.left = 0

    def take(self) -> bytes | None:
        """Return the next request, or None when all are taken."""
        if self.left == 0:
            return None
        self.left -= 1
        self._number += 1
        before, after = self._pieces[self._number % len(self._pieces)]
        if not self._digests:
            return before + after
        return before + hashlib.sha256(b"%d" % self._number).hexdigest().encode() + after


def _tls(plan: Plan) -> ssl.SSLContext | None:
    if plan.server_ca is None or plan.certificate is None:
        return None
    context = ssl.create_default_context(cafile=plan.server_ca)
    context.load_cert_chain(plan.certificate, plan.key)
    return context


async def _run(plan: Plan) -> None:
    loop = asyncio.get_running_loop()
    supply = _Supply(plan)
    tls = _tls(plan)
    connections = [
        (
            await loop.create_connection(
                lambda: _Connection(supply.take, plan.refused),
                "127.0.0.1",
                plan.port,
                ssl=tls,
                server_hostname="localhost" if tls else None,
            )
        )[1]
        for _ in range(plan.connections)
    ]
    _say({"connections": len(connections)})
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        supply.left = requests = int(line)
        before = sum(connection.answered for connection in connections)
        began = time.perf_counter()
        for place, connection in enumerate(connections):
            connection.latencies, connection.refused = [], 0
            if plan.rate is not None:
                connection.pace = plan.connections / plan.rate
                connection.due = began + (place + 1) / plan.rate
        await asyncio.gather(*(connection.begin() for connection in connections))
        seconds = time.perf_counter() - began
        answered = sum(connection.answered for connection in connections) - before
        if answered != requests:
            raise RuntimeError(f"{answered} answers to {requests} requests")
        latencies = [each for connection in connections for each in connection.latencies]
        refused = sum(connection.refused for connection in connections)
        _say({"requests": answered, "seconds": seconds, "latencies": latencies, "refused": refused})


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


async def _bounded(plan: Plan) -> None:
    async with asyncio.timeout(plan.seconds):
        await _run(plan)


def main() -> int:
    """Read the plan, make the load."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    try:
        uvloop.run(_bounded(plan))
    except Exception as error:  # the edge of this process: its parent reads one line
        _say({"error": f"{type(error).__name__}: {error}"})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
