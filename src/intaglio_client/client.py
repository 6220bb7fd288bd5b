"""The two clients: the same calls, driven blocking or with asyncio."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from types import TracebackType
from typing import Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, Unpack
from weakref import WeakValueDictionary

import httpx

from intaglio_client import session as calls
from intaglio_client.exchange import NOTHING, Ask, Exchange, Free, Hold, Retries, Wait
from intaglio_client.session import Session
from intaglio_client.transport import Connection, base_path, reply_from, request_for, tls_context, unreachable

P = ParamSpec("P")
T = TypeVar("T")


class _Lock(Protocol):
    def release(self) -> None: ...


L = TypeVar("L", bound=_Lock)


class _Locks(Generic[L]):
    """Locks by name, which exist for as long as somebody holds or awaits them."""

    def __init__(self, make: Callable[[], L]) -> None:
        self._make = make
        self._named: WeakValueDictionary[str, L] = WeakValueDictionary()
        self._guard = threading.Lock()

    def named(self, name: str) -> L:
        with self._guard:
            lock = self._named.get(name)
            if lock is None:
                lock = self._named[name] = self._make()
            return lock


def _blocking(
    call: Callable[Concatenate[Session, P], Exchange[T]],
) -> Callable[Concatenate["Client", P], T]:
    @wraps(call)
    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client.drive(call(client.session, *args, **kwargs))

    return method


def _awaiting(
    call: Callable[Concatenate[Session, P], Exchange[T]],
) -> Callable[Concatenate["AsyncClient", P], Awaitable[T]]:
    @wraps(call)
    async def method(client: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client.drive(call(client.session, *args, **kwargs))

    return method


def _session(connection: Connection) -> Session:
    return Session(connection["api_key"], connection["api_secret"], connection.get("retries", Retries()))


class Client:
    """A blocking client of API v2; may be shared by threads, and is closed by `with` or `close`.

    It logs in by itself, logs in again when the token ends or is refused, keeps identities
    for as long as they can sign, and repeats what is safe to repeat. The arguments are those
    of `Connection`; `transport` stands in for the network.
    """

    def __init__(
        self, base_url: str, *, transport: httpx.BaseTransport | None = None, **connection: Unpack[Connection]
    ) -> None:
        self.session = _session(connection)
        self._base = base_path(base_url)
        self._locks = _Locks(threading.Lock)
        self._http = httpx.Client(
            transport=transport,
            verify=tls_context(connection) if transport is None else True,
            timeout=connection.get("timeout", 30.0),
        )

    login = _blocking(calls.login)
    identity = _blocking(calls.identity)
    identity_nonce = _blocking(calls.identity_nonce)
    sign = _blocking(calls.sign)
    timestamp = _blocking(calls.timestamp)
    certificate_path = _blocking(calls.certificate_path)
    trustchain = _blocking(calls.trustchain)
    validation_policy = _blocking(calls.validation_policy)
    quota = _blocking(calls.quota)
    counter = _blocking(calls.counter)
    sandbox = _blocking(calls.sandbox)
    advance_clock = _blocking(calls.advance_clock)
    force_failures = _blocking(calls.force_failures)
    reset_sandbox = _blocking(calls.reset_sandbox)

    def drive(self, exchange: Exchange[T]) -> T:
        """Carry an exchange's effects out until it returns; raises what it raises."""
        held: dict[str, threading.Lock] = {}
        step = partial(next, exchange)
        try:
            while True:
                effect = step()
                step = partial(exchange.send, NOTHING)
                match effect:
                    case Ask():
                        try:
                            response = self._http.send(request_for(self._base, effect))
                            step = partial(exchange.send, reply_from(response))
                        except httpx.TransportError as failure:
                            step = partial(exchange.throw, unreachable(failure, self._base))
                    case Wait(seconds):
                        time.sleep(seconds)
                    case Hold(name):
                        lock = self._locks.named(name)
                        lock.acquire()
                        held[name] = lock
                    case Free(name):
                        held.pop(name).release()
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            for lock in held.values():
                lock.release()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """A client of API v2 for asyncio; may be shared by tasks of one loop, closed by `async with` or `aclose`.

    It does what `Client` does, by the same exchanges.
    """

    def __init__(
        self, base_url: str, *, transport: httpx.AsyncBaseTransport | None = None, **connection: Unpack[Connection]
    ) -> None:
        self.session = _session(connection)
        self._base = base_path(base_url)
        self._locks = _Locks(asyncio.Lock)
        self._http = httpx.AsyncClient(
            transport=transport,
            verify=tls_context(connection) if transport is None else True,
            timeout=connection.get("timeout", 30.0),
        )

    login = _awaiting(calls.login)
    identity = _awaiting(calls.identity)
    identity_nonce = _awaiting(calls.identity_nonce)
    sign = _awaiting(calls.sign)
    timestamp = _awaiting(calls.timestamp)
    certificate_path = _awaiting(calls.certificate_path)
    trustchain = _awaiting(calls.trustchain)
    validation_policy = _awaiting(calls.validation_policy)
    quota = _awaiting(calls.quota)
    counter = _awaiting(calls.counter)
    sandbox = _awaiting(calls.sandbox)
    advance_clock = _awaiting(calls.advance_clock)
    force_failures = _awaiting(calls.force_failures)
    reset_sandbox = _awaiting(calls.reset_sandbox)

    async def drive(self, exchange: Exchange[T]) -> T:
        """Carry an exchange's effects out until it returns; raises what it raises."""
        held: dict[str, asyncio.Lock] = {}
        step = partial(next, exchange)
        try:
            while True:
                effect = step()
                step = partial(exchange.send, NOTHING)
                match effect:
                    case Ask():
                        try:
                            response = await self._http.send(request_for(self._base, effect))
                            step = partial(exchange.send, reply_from(response))
                        except httpx.TransportError as failure:
                            step = partial(exchange.throw, unreachable(failure, self._base))
                    case Wait(seconds):
                        await asyncio.sleep(seconds)
                    case Hold(name):
                        lock = self._locks.named(name)
                        await lock.acquire()
                        held[name] = lock
                    case Free(name):
                        held.pop(name).release()
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            for lock in held.values():
                lock.release()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
