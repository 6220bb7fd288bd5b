"""One call as a generator: it yields what it wants done and is sent what came of it.

Every call of the interface is written once, as such an exchange, with no sockets and no
clock of its own to wait on. `intaglio_client.client` holds the two drivers that carry the
effects out, one blocking, one for asyncio.
"""

import random
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeAlias, TypeVar

import msgspec

from intaglio_client.errors import Unreachable

T = TypeVar("T")


class Ask(msgspec.Struct, frozen=True):
    """Send a request; `path` starts after the base path.

    `repeatable`: may be sent again although the first one may have arrived.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None
    repeatable: bool = False


class Wait(msgspec.Struct, frozen=True):
    """Let time pass."""

    seconds: float


class Hold(msgspec.Struct, frozen=True):
    """Take the lock of that name, until `Free` or the end of the exchange."""

    name: str


class Free(msgspec.Struct, frozen=True):
    """Give the lock of that name back."""

    name: str


class Reply(msgspec.Struct, frozen=True):
    """A complete HTTP response; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


NOTHING = Reply(status=0, headers={}, body=b"")
"""What is sent into an exchange at an effect that has no result."""

Effect: TypeAlias = Ask | Wait | Hold | Free
Exchange: TypeAlias = Generator[Effect, Reply, T]
"""A driver throws `Unreachable` into it when no response came back."""


class Retries(msgspec.Struct, frozen=True):
    """How often and how long to try: attempts in all, first and longest wait in seconds."""

    attempts: int = 4
    first_wait: float = 0.25
    longest_wait: float = 30.0


def answered(ask: Ask, retries: Retries, now: datetime) -> Exchange[Reply]:
    """Send `ask` until there is a reply worth returning, and return it.

    Repeated are: a request that never left, a repeatable one that got no answer, and any
    that was turned away with 429 or 503 (RFC 9110 §15.6.4; RFC 6585 §4), for which
    `Retry-After` is honoured up to the longest wait. A proxy's 502 or 504 is no answer
    (RFC 9110 §15.6.3, §15.6.5). Raises `Unreachable`.
    """
    for attempt in range(1, retries.attempts):
        try:
            reply = yield ask
        except Unreachable as failure:
            if failure.final or (failure.sent and not ask.repeatable):
                raise
            yield Wait(_backoff(retries, attempt))
            continue
        if reply.status not in ((429, 502, 503, 504) if ask.repeatable else (429, 503)):
            return reply
        asked_for = retry_after(reply, now)
        if asked_for is not None and asked_for > retries.longest_wait:
            return reply
        # Longer each time, and by chance: those that were told the same moment do not come back together.
        yield Wait((asked_for or 0.0) + _backoff(retries, attempt))
    return (yield ask)


def retry_after(reply: Reply, now: datetime) -> float | None:
    """Return the seconds that `Retry-After` asks for, or None (RFC 9110 §10.2.3)."""
    text = reply.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _backoff(retries: Retries, attempt: int) -> float:
    # Half of it by chance, so that many clients turned away together do not return together.
    longest = min(retries.longest_wait, retries.first_wait * 2.0 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads load, keeps no secret
