"""What a measurement is made of: rows of the table, counts, a client, and the server's CPU beside the library's."""

import json
import ssl
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
from deployed import Served
from load import Made, Plan
from raw import rsa_signatures_per_cpu_second

_JSON = "application/json;charset=utf-8"
CONNECTIONS = 16
IDENTITY = {"subject_dn": {"common_name": "John Doe", "country": "GB"}}


class Row(msgspec.Struct, frozen=True):
    """One line of the table; `raw` is the library's own figure of the same run, `needed` what the value must reach."""

    name: str
    value: float
    unit: str
    raw: float | None
    needed: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the value reaches what it must, or stays within it."""
        if self.needed is None:
            return True
        return self.value <= self.needed if self.at_most else self.value >= self.needed


class Counts(msgspec.Struct, frozen=True):
    """How many requests each measurement makes, in how many parts, and CPU seconds of each look at the library."""

    signatures: int = 20_000
    # Memory grows until the database's page cache (2 MB) is full, and not after: 60 pages a thousand entries.
    warm_up: int = 16_000
    # For the growth of memory.
    lasting: int = 200_000
    identities: int = 960
    # A key takes 20 to 150 ms: many make the mean certain, to 1.5 %.
    sustained: int = 3_200
    # A p99 of each part, and the median of them: a hiccup of the machine is in one part only.
    paced: int = 12_000
    paced_parts: int = 24
    # By siege, whose connections are made anew for each part: many requests make that little.
    timestamps: int = 10_000
    kills: int = 5
    ocsp: int = 8_000
    # Many short parts: whatever else the machine does meets service and library alike.
    parts: int = 16
    raw_seconds: float = 0.15


QUICK = Counts(
    signatures=3_000,
    warm_up=500,
    lasting=6_000,
    identities=160,
    sustained=64,
    paced=1_600,
    paced_parts=4,
    timestamps=800,
    kills=2,
    ocsp=1_600,
    parts=4,
    raw_seconds=0.15,
)


class Measured(msgspec.Struct, frozen=True):
    """Requests per server CPU second, requests per wall second, and the library's rate around them."""

    per_cpu_second: float
    per_second: float
    raw: float


class Running(Protocol):
    """What makes a load."""

    def run(self, requests: int) -> Made:
        """Make so many requests."""
        ...


def measure(
    service: Served,
    load: Running,
    requests: int,
    counts: Counts,
    raw: Callable[[float], float] = rsa_signatures_per_cpu_second,
) -> Measured:
    """Make `requests` in parts with a look at the library before, between and after."""
    looks = [raw(counts.raw_seconds)]
    cpu = wall = 0.0
    for _ in range(counts.parts):
        before = service.cpu_seconds()
        wall += load.run(requests // counts.parts).seconds
        cpu += service.cpu_seconds() - before
        looks.append(raw(counts.raw_seconds))
    made = requests // counts.parts * counts.parts
    return Measured(made / cpu, made / wall, sum(looks) / len(looks))


def p99(latencies: Sequence[float]) -> float:
    """Return what 99 of 100 stay below."""
    return sorted(latencies)[len(latencies) * 99 // 100]


class Client:
    """The few calls that prepare a measurement."""

    def __init__(self, service: Served) -> None:
        self._service = service
        context = ssl.create_default_context(cafile=service.server_ca)
        context.load_cert_chain(service.certificate, service.key)
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        self._token = ""
        self._token = str(self.call("POST", "/login", service.secret)["access_token"])

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the decoded answer."""
        request = urllib.request.Request(
            f"https://localhost:{self._service.api_port}/v2{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": _JSON, "Authorization": f"Bearer {self._token}"},
            method=method,
        )
        with self._opener.open(request, timeout=60) as answer:
            return json.loads(answer.read())

    def signing_targets(self) -> list[str]:
        """Return where new identities sign, each another digest every time."""
        made = [self.call("POST", "/identity", IDENTITY)["id"] for _ in range(4)]
        return [f"/identity/{one}/sign/{{digest}}" for one in made]

    def plan(self, method: str, targets: Sequence[str], body: Any = None, rate: float | None = None) -> Plan:
        """Return the plan of a load on the API over mutual TLS; `rate` is in requests per second."""
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "*/*", "Content-Type": _JSON}
        return Plan(
            port=self._service.api_port,
            method=method,
            targets=[f"/v2{target}" for target in targets],
            headers=headers,
            body=b"" if body is None else json.dumps(body).encode(),
            connections=CONNECTIONS,
            rate=rate,
            server_ca=str(self._service.server_ca),
            certificate=str(self._service.certificate),
            key=str(self._service.key),
        )
