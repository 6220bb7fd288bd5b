"""Measures a running service against the bare library, in one run, in CPU seconds of the server.

Usage: bench/run.py [--quick] [--only PART] [--no-access-log] [--threads] [--out bench.json]

The load comes from siege or, where that cannot do what is needed, at a rate or for long, from a process of our own; its
CPU is not counted. The bare library is measured between the parts of every measurement, because a shared machine
changes its speed: a ratio is taken against the mean of the looks around it.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import fairness
import hsm
import linting
import peers
import recovery
import side_by_side
import siege
import store
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.ocsp import OCSPRequestBuilder
from deployed import Place, Served, place
from load import Load, Plan
from measurement import CONNECTIONS, IDENTITY, QUICK, Client, Counts, Measured, Row, measure, p99
from raw import p256_signatures_per_cpu_second, rsa_signatures_per_cpu_second

import keys

_PARTS = ("requests", "pool", "store", "workers", "nodes", "recovery", "hsm", "linting", "fairness", "peers")
# What people look for first.
_FIRST = (
    "sign_rsa2048_ratio",
    "sign_rsa2048_postgresql_ratio",
    "sign_p256_per_cpu_s",
    "identity_ratio",
    "timestamp_ratio",
    "ocsp_per_cpu_s",
    "workers_cpu_factor",
    "nodes_cpu_factor",
    "p99_half_load_ms",
    "recovery_s",
    "rss_growth_pct",
)


def signatures(service: Served, client: Client, counts: Counts, *, threads: bool) -> list[Row]:
    """Measure the signing path and the memory it leaves behind."""
    targets = client.signing_targets()
    with Load(client.plan("GET", targets)) as load:
        load.run(counts.warm_up)
        by_thread = service.thread_cpu_seconds()
        found = measure(service, load, counts.signatures, counts)
        if threads:
            _tell_threads(by_thread, service.thread_cpu_seconds(), counts.signatures)
        resident = service.rss_bytes()
        load.run(counts.lasting)
        growth = 100 * (service.rss_bytes() - resident) / resident
    print(f"signatures: {found.per_cpu_second:.0f} per server CPU s, {found.per_second:.0f} per s of wall time")
    by_siege = siege.measured(service, client.plan("GET", targets), counts.signatures, counts)
    print(f"signatures asked for by siege: {by_siege.per_cpu_second:.0f} per server CPU s")
    rate = found.per_second / 2
    with Load(client.plan("GET", targets, rate=rate)) as load:
        load.run(counts.paced // counts.paced_parts)
        share = counts.paced // counts.paced_parts
        waited = [p99(load.run(share).latencies) for _ in range(counts.paced_parts)]
    print(f"signatures due at {rate:.0f} per s: p99s from {min(waited) * 1e3:.1f} to {max(waited) * 1e3:.1f} ms")
    alone = rsa_signatures_per_cpu_second(counts.raw_seconds, threads=1)
    print(f"the library with the machine to itself: {alone:.0f} per CPU s, ratio {found.per_cpu_second / alone:.3f}")
    return [
        _ratio("sign_rsa2048_ratio", by_siege, 0.65),
        _ratio("sign_rsa2048_own_load_ratio", found, 0.65),
        Row("p99_half_load_ms", median(waited) * 1e3, f"ms at {rate:.0f}/s, open loop", None, 15.0, True),
        Row("rss_growth_pct", growth, f"% over {counts.lasting} signatures", None, 5.0, True),
    ]


def _ratio(name: str, found: Measured, needed: float) -> Row:
    return Row(name, found.per_cpu_second / found.raw, "of raw RSA-2048 signatures/CPU s", found.raw, needed)


def _tell_threads(before: dict[str, float], after: dict[str, float], requests: int) -> None:
    for name, spent in sorted(after.items(), key=lambda item: before.get(item[0], 0.0) - item[1]):
        micros = (spent - before.get(name, 0.0)) / requests * 1e6
        if micros > 1:
            print(f"  thread {name}: {micros:.0f} us of CPU per signature")


def timestamps(service: Served, client: Client, counts: Counts) -> Row:
    """Measure time-stamps."""
    found = siege.measured(service, client.plan("GET", ["/timestamp/{digest}"]), counts.timestamps, counts)
    print(f"time-stamps: {found.per_cpu_second:.0f} per server CPU s")
    return _ratio("timestamp_ratio", found, 0.6)


def ocsp(service: Served, client: Client, counts: Counts) -> Row:
    """Measure OCSP by POST without a nonce on the public listener: remembered answers."""
    certificate = x509.load_pem_x509_certificate(
        str(client.call("POST", "/identity", IDENTITY)["signing_cert"]).encode()
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
        connections=CONNECTIONS,
    )
    with Load(plan) as load:
        load.run(counts.ocsp // 8)
        found = measure(service, load, counts.ocsp, counts)
    # The library's figure: what it could at most sign anew.
    return Row("ocsp_per_cpu_s", found.per_cpu_second, "remembered answers/server CPU s", found.raw, 6000)


def elliptic(home: Place, service: Served, client: Client, counts: Counts) -> Row:
    """Measure signatures by keys that sign in no time: what is left is the service's own."""
    account = home.run("account", "list")[0]["account_id"]
    policy = home.run("policy", "show", account)
    wanted = policy | {"public_key": {"key_type": "ECDSA", "allowed_lengths": [256]}}
    file = home.home / "elliptic.json"
    for document in wanted, policy:
        file.write_text(json.dumps(document), encoding="utf-8")
        home.run("policy", "set", account, "--file", str(file))
        if document is wanted:
            time.sleep(1.0)  # until it is in force
            targets = client.signing_targets()
    plan = client.plan("GET", targets)
    found = siege.measured(service, plan, counts.signatures, counts, p256_signatures_per_cpu_second)
    return Row("sign_p256_per_cpu_s", found.per_cpu_second, "signatures/server CPU s", found.raw, 3000)


def requests(home: Place, counts: Counts, settings: str, *, threads: bool) -> list[Row]:
    """Measure what clients ask for all day, while no keys are made."""
    home.set(f"[pool]\nmakers = 0\n{settings}")
    with home.serving() as service:
        client = Client(service)
        rows = signatures(service, client, counts, threads=threads)
        rows += [timestamps(service, client, counts), ocsp(service, client, counts)]
        return [*rows, elliptic(home, service, client, counts)]


def table(rows: Sequence[Row]) -> str:
    """Return the rows for people."""
    lines = [("row", "value", "raw", "must reach", "unit")]
    for row in rows:
        bound = f"{'≤' if row.at_most else '≥'} {row.needed}"
        needed = "-" if row.needed is None else f"{bound} {'met' if row.met else 'MISSED'}"
        raw = "-" if row.raw is None else f"{row.raw:.1f}"
        lines.append((row.name, f"{row.value:.3f}" if row.value < 100 else f"{row.value:.0f}", raw, needed, row.unit))
    widths = [max(len(line[place]) for line in lines) for place in range(5)]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


def measured(wanted: Sequence[str], counts: Counts, settings: str, *, threads: bool) -> list[Row]:
    """Measure the parts that are wanted, and return their rows, those that people look for first before the others."""
    rows: list[Row] = []
    if {"requests", "pool"}.intersection(wanted):
        with place() as home:
            if "requests" in wanted:
                rows += requests(home, counts, settings, threads=threads)
            if "pool" in wanted:
                rows += keys.pool(home, counts, settings)
    others: dict[str, Callable[[], list[Row]]] = {
        "store": lambda: [store.signatures(counts, settings)],
        "workers": lambda: [side_by_side.workers(counts, settings)],
        "nodes": lambda: [side_by_side.nodes(counts, settings)],
        "recovery": lambda: [recovery.recovery(counts, settings)],
        "hsm": lambda: [hsm.signatures(counts, settings)],
        "fairness": lambda: [*fairness.noisy(counts, settings), *fairness.overload(counts, settings)],
        "linting": lambda: [linting.linting()],
        "peers": lambda: peers.peers(counts),
    }
    rows += [row for part, look in others.items() if part in wanted for row in look()]
    return sorted(rows, key=lambda row: _FIRST.index(row.name) if row.name in _FIRST else len(_FIRST))


def main() -> int:
    """Measure, print the table, write the file; return 1 when a row misses what it must reach."""
    parser = argparse.ArgumentParser(description="Measure the service against the bare library.")
    parser.add_argument("--quick", action="store_true", help="fewer requests, for a first look")
    parser.add_argument("--only", choices=_PARTS, action="append", help="measure this part alone; repeatable")
    parser.add_argument("--no-access-log", action="store_true", help="measure with log.access = false")
    parser.add_argument("--threads", action="store_true", help="also print the server's CPU by thread")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="where the figures go")
    options = parser.parse_args()
    counts = QUICK if options.quick else Counts()
    log = "[log]\naccess = false\n" if options.no_access_log else ""
    wanted = options.only or _PARTS
    rows = measured(wanted, counts, log, threads=options.threads)
    print(f"\nAccess log: {'off' if options.no_access_log else 'on (the default)'}. CPU is the server's alone.")
    print(table(rows))
    figures = {row.name: {"value": row.value, "unit": row.unit, "raw": row.raw} for row in rows}
    options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
