"""Signatures with the state in PostgreSQL: a server of the benchmark's own, whose CPU is not counted."""

import sys
from pathlib import Path

import siege
from deployed import place
from measurement import Client, Counts, Row

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from postgres import Server


def signatures(counts: Counts, settings: str) -> Row:
    """Measure the signing path on a database whose every commit is synced."""
    server = Server()
    try:
        with place("--database", server.new_database()) as home:
            home.set(f"[pool]\nmakers = 0\n{settings}")
            with home.serving() as service:
                client = Client(service)
                targets = client.signing_targets()
                found = siege.measured(service, client.plan("GET", targets), counts.signatures // 2, counts)
    finally:
        server.end()
    print(f"signatures on PostgreSQL: {found.per_cpu_second:.0f} per server CPU s, {found.per_second:.0f} per s")
    unit = "of raw RSA-2048 signatures/CPU s, state in PostgreSQL"
    return Row("sign_rsa2048_postgresql_ratio", found.per_cpu_second / found.raw, unit, found.raw, 0.55)
