"""One process beside two, and one node beside two on PostgreSQL: what company costs each signature."""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec
from deployed import Served, place
from load import Load
from measurement import CONNECTIONS, Client, Counts, Row

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from postgres import Server


def workers(counts: Counts, settings: str) -> Row:
    """Measure signatures by a service of one process and by one of two, turn about."""
    with place() as one, place() as two, ExitStack() as stack:
        for home in one, two:
            home.set(f"[pool]\nmakers = 0\n{settings}")
        single = stack.enter_context(one.serving())
        double = stack.enter_context(two.serving("--workers", "2"))
        factor = _factor(stack, [single], [double], counts)
    return Row("workers_cpu_factor", factor, "times the CPU of one process, for a signature by two", None, 1.1, True)


def nodes(counts: Counts, settings: str) -> Row:
    """Measure signatures by one node on PostgreSQL and by two that share another database, turn about."""
    server = Server()
    try:
        with (
            place("--database", server.new_database()) as alone,
            place("--database", server.new_database()) as first,
            ExitStack() as stack,
        ):
            homes = (alone, first, first.beside())
            for home in homes:
                home.set(f"[pool]\nmakers = 0\n{settings}")
            one, *two = [stack.enter_context(home.serving()) for home in homes]
            factor = _factor(stack, [one], two, counts)
    finally:
        server.end()
    return Row("nodes_cpu_factor", factor, "times the CPU of one node, for a signature by two", None, 1.15, True)


def _factor(stack: ExitStack, one: Sequence[Served], two: Sequence[Served], counts: Counts) -> float:
    sides = (one, two)
    # Each process has as many connections as the one alone: what is measured is what company costs, not idleness.
    loads = [[stack.enter_context(_load(service)) for service in side] for side in sides]
    cpu = [0.0, 0.0]
    share = counts.signatures // 2 // counts.parts
    with ThreadPoolExecutor(2) as pool:

        def run(place: int, requests: int) -> None:
            each = requests // len(loads[place])
            list(pool.map(lambda load: load.run(each), loads[place]))

        for place in (0, 1):
            run(place, counts.timestamps // 8)
        for _ in range(counts.parts):
            for place in (0, 1):
                before = sum(service.cpu_seconds() for service in sides[place])
                run(place, share)
                cpu[place] += sum(service.cpu_seconds() for service in sides[place]) - before
    made = share * counts.parts
    print(f"signatures: {cpu[0] / made * 1e6:.0f} us of CPU by one, {cpu[1] / made * 1e6:.0f} us by two")
    return cpu[1] / cpu[0]


def _load(service: Served) -> Load:
    client = Client(service)
    targets = client.signing_targets()
    plan = client.plan("GET", targets)
    return Load(msgspec.structs.replace(plan, connections=CONNECTIONS * (1 + len(service.workers))))
