"""A stand-in for the service's HTTP answers.

It shows what the client does with answers and failures, and nothing about the service:
what client and service do together is tested against the real service.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from intaglio_client import AsyncClient, Client, Retries
from intaglio_client.session import Session

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
QUICK = Retries(attempts=4, first_wait=0.001, longest_wait=0.01)


class Answers:
    """Answers requests as told, and keeps them."""

    def __init__(self) -> None:
        self.now = START
        self.requests: list[httpx.Request] = []
        self.next: dict[str, list[httpx.Response | Exception]] = {}
        self.made = 0
        self.logins = 0
        self.dead_tokens: set[str] = set()
        self.claims: dict[str, Any] = {"iat": 1000, "exp": 1000 + 1800}

    def will(self, path: str, *answers: httpx.Response | Exception) -> None:
        self.next.setdefault(path, []).extend(answers)

    def count(self, path: str) -> int:
        return sum(request.url.path == f"/v2{path}" for request in self.requests)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path.removeprefix("/v2")
        planned = self.next.get(path)
        if planned:
            answer = planned.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if path == "/login":
            self.logins += 1
            return httpx.Response(200, json={"access_token": self.token(self.logins)})
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token in self.dead_tokens:
            return problem(401, "The token is not valid.")
        if path == "/identity":
            self.made += 1
            return httpx.Response(200, json=self.identity())
        if "/sign/" in path:
            return httpx.Response(200, json={"signature": "AB" * 256})
        return httpx.Response(200, json={"value": 7})

    def token(self, number: int) -> str:
        parts = ({"alg": "none"}, {**self.claims, "jti": number})
        return ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts)

    def identity(self) -> dict[str, str]:
        return {
            "id": f"identity-{self.made}",
            "signing_cert": certificate(self.now, self.now + timedelta(seconds=599)),
            "ocsp_response": "MAA=",
        }


def certificate(begin: datetime, end: datetime) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def problem(status: int, description: str, headers: dict[str, str] | None = None, **members: Any) -> httpx.Response:
    content = json.dumps({"description": description, "id": "req-1", **members}).encode()
    return httpx.Response(
        status, content=content, headers={"Content-Type": "application/problem+json;charset=utf-8", **(headers or {})}
    )


class Caller:
    """Calls a client by the name of the call, waiting for it if it is asynchronous."""

    def __init__(self, client: Client | AsyncClient, runner: asyncio.Runner) -> None:
        self.client = client
        self._runner = runner

    @property
    def session(self) -> Session:
        return self.client.session

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        made = getattr(self.client, name)(*args, **kwargs)
        return self._runner.run(made) if isinstance(self.client, AsyncClient) else made


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture(params=["blocking", "asyncio"])
def call(request: pytest.FixtureRequest, answers: Answers) -> Iterator[Caller]:
    transport = httpx.MockTransport(answers)
    make: Callable[..., Client | AsyncClient] = Client if request.param == "blocking" else AsyncClient
    client = make("https://sign.example:8443", api_key="k", api_secret="s", retries=QUICK, transport=transport)
    client.session.clock = lambda: answers.now
    with asyncio.Runner() as runner:
        yield Caller(client, runner)
