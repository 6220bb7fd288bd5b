"""Measures a running service against the bare library, in one run, in CPU seconds of the server.

Usage: bench/run.py [--quick] [--no-access-log] [--threads] [--out bench.json]

The load comes from a process of its own whose CPU is not counted. The bare library is measured between the parts of
every measurement, because a shared machine changes its speed: a ratio is taken against the mean of the looks around it.
"""

import argparse
import json
import ssl
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPRequestBuilder
from deployed import Served, served
from load import Load, Plan
from raw import rsa_signatures_per_cpu_second

_JSON = "application/json;charset=utf-8"
_CONNECTIONS = 16
_IDENTITY = {"subject_dn": {"common_name": "John Doe", "country": "GB"}}


class Row(msgspec.Struct, frozen=True):
    """One line of the table; `raw` is the library's own figure of the same run, `needed` what the value must reach."""

    name: str
    value: float
    unit: str
    raw: float | None
    needed: float | None = None

    @property
    def met(self) -> bool:
        """Whether the value reaches what it must."""
        return self.needed is None or self.value >= self.needed


class Counts(msgspec.Struct, frozen=True):
    """How many requests each measurement makes, in how many parts, and CPU seconds of each look at the library."""

    signatures: int = 20_000
    # Memory grows until the database's page cache (2 MB) is full, and not after: 60 pages a thousand entries.
    warm_up: int = 16_000
    identities: int = 96
    timestamps: int = 4_000
    ocsp: int = 8_000
    # Many short parts: whatever else the machine does meets service and library alike.
    parts: int = 16
    raw_seconds: float = 0.15


_QUICK = Counts(signatures=3_000, warm_up=500, identities=24, timestamps=800, ocsp=1_600, parts=4, raw_seconds=0.15)


class Measured(msgspec.Struct, frozen=True):
    """Requests per server CPU second, requests per wall second, and the library's rate around them."""

    per_cpu_second: float
    per_second: float
    raw: float


def measure(service: Served, load: Load, requests: int, counts: Counts) -> Measured:
    """Make `requests` in parts with a look at the library before, between and after."""
    looks = [rsa_signatures_per_cpu_second(counts.raw_seconds)]
    cpu = wall = 0.0
    for _ in range(counts.parts):
        before = service.cpu_seconds()
        wall += load.run(requests // counts.parts).seconds
        cpu += service.cpu_seconds() - before
        looks.append(rsa_signatures_per_cpu_second(counts.raw_seconds))
    made = requests // counts.parts * counts.parts
    return Measured(made / cpu, made / wall, sum(looks) / len(looks))


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

    def plan(self, method: str, targets: Sequence[str], body: Any = None) -> Plan:
        """Return the plan of a load on the API over mutual TLS."""
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "*/*", "Content-Type": _JSON}
        return Plan(
            port=self._service.api_port,
            method=method,
            targets=[f"/v2{target}" for target in targets],
            headers=headers,
            body=b"" if body is None else json.dumps(body).encode(),
            connections=_CONNECTIONS,
            server_ca=str(self._service.server_ca),
            certificate=str(self._service.certificate),
            key=str(self._service.key),
        )


def signatures(service: Served, client: Client, counts: Counts, *, threads: bool) -> list[Row]:
    """Measure the signing path and the memory it leaves behind."""
    identities = [client.call("POST", "/identity", _IDENTITY)["id"] for _ in range(4)]
    with Load(client.plan("GET", [f"/identity/{one}/sign/{{digest}}" for one in identities])) as load:
        load.run(counts.warm_up)
        resident, by_thread = service.rss_bytes(), service.thread_cpu_seconds()
        found = measure(service, load, counts.signatures, counts)
        growth = 100 * (service.rss_bytes() - resident) / resident
        if threads:
            _tell_threads(by_thread, service.thread_cpu_seconds(), counts.signatures)
    print(f"signatures: {found.per_cpu_second:.0f} per server CPU s, {found.per_second:.0f} per s of wall time")
    alone = rsa_signatures_per_cpu_second(counts.raw_seconds, threads=1)
    print(f"the library with the machine to itself: {alone:.0f} per CPU s, ratio {found.per_cpu_second / alone:.3f}")
    return [
        Row(
            "sign_rsa2048_ratio", found.per_cpu_second / found.raw, "of raw RSA-2048 signatures/CPU s", found.raw, 0.45
        ),
        Row("rss_growth_pct", growth, f"% over {counts.signatures} signatures", None),
    ]


def _tell_threads(before: dict[str, float], after: dict[str, float], requests: int) -> None:
    for name, spent in sorted(after.items(), key=lambda item: before.get(item[0], 0.0) - item[1]):
        micros = (spent - before.get(name, 0.0)) / requests * 1e6
        if micros > 1:
            print(f"  thread {name}: {micros:.0f} us of CPU per signature")


def identities(service: Served, client: Client, counts: Counts) -> Row:
    """Measure identities; for now the making of the RSA key, most of the cost, is part of it."""
    with Load(client.plan("POST", ["/identity"], _IDENTITY)) as load:
        load.run(_CONNECTIONS)
        found = measure(service, load, counts.identities, counts)
    print(f"identities: {found.per_cpu_second:.1f} per server CPU s (key generation included)")
    raw = found.raw / 2
    unit = "of raw RSA signatures/CPU s / 2, key generation included"
    return Row("identity_ratio", found.per_cpu_second / raw, unit, raw)


def timestamps(service: Served, client: Client, counts: Counts) -> Row:
    """Measure time-stamps."""
    with Load(client.plan("GET", ["/timestamp/{digest}"])) as load:
        load.run(counts.timestamps // 8)
        found = measure(service, load, counts.timestamps, counts)
    print(f"time-stamps: {found.per_cpu_second:.0f} per server CPU s")
    return Row("timestamp_ratio", found.per_cpu_second / found.raw, "of raw RSA-2048 signatures/CPU s", found.raw)


def ocsp(service: Served, client: Client, counts: Counts) -> Row:
    """Measure OCSP by POST without a nonce on the public listener: remembered answers."""
    certificate = x509.load_pem_x509_certificate(
        str(client.call("POST", "/identity", _IDENTITY)["signing_cert"]).encode()
    )
    chain = str(client.call("GET", "/certificate_path")["path"]).encode()
    issuer = x509.load_pem_x509_certificates(chain)[0]
    request = OCSPRequestBuilder().add_certificate(certificate, issuer, SHA256()).build()
    plan = Plan(
        port=service.pki_port,
        method="POST",
        targets=["/ocsp"],
        headers={"Content-Type": "application/ocsp-request"},
        body=request.public_bytes(Encoding.DER),
        connections=_CONNECTIONS,
    )
    with Load(plan) as load:
        load.run(counts.ocsp // 8)
        found = measure(service, load, counts.ocsp, counts)
    # The library's figure: what it could at most sign anew.
    return Row("ocsp_per_cpu_s", found.per_cpu_second, "remembered answers/server CPU s", found.raw)


def table(rows: Sequence[Row]) -> str:
    """Return the rows for people."""
    lines = [("row", "value", "raw", "must reach", "unit")]
    for row in rows:
        needed = "-" if row.needed is None else f"{row.needed:g} {'met' if row.met else 'MISSED'}"
        raw = "-" if row.raw is None else f"{row.raw:.1f}"
        lines.append((row.name, f"{row.value:.3f}" if row.value < 100 else f"{row.value:.0f}", raw, needed, row.unit))
    widths = [max(len(line[place]) for line in lines) for place in range(5)]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


def main() -> int:
    """Measure, print the table, write the file; return 1 when a row misses what it must reach."""
    parser = argparse.ArgumentParser(description="Measure the service against the bare library.")
    parser.add_argument("--quick", action="store_true", help="fewer requests, for a first look")
    parser.add_argument("--no-access-log", action="store_true", help="measure with log.access = false")
    parser.add_argument("--threads", action="store_true", help="also print the server's CPU by thread")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="where the figures go")
    options = parser.parse_args()
    counts = _QUICK if options.quick else Counts()
    with served(access_log=not options.no_access_log) as service:
        client = Client(service)
        rows = signatures(service, client, counts, threads=options.threads)
        rows.append(timestamps(service, client, counts))
        rows.append(ocsp(service, client, counts))
        rows.append(identities(service, client, counts))
    print(f"\nAccess log: {'off' if options.no_access_log else 'on (the default)'}. CPU is the server's alone.")
    print(table(rows))
    figures = {row.name: {"value": row.value, "unit": row.unit, "raw": row.raw} for row in rows}
    options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
