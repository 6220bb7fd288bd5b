"""The key pool: identities from a full one, identities while it is empty, and signatures while it fills."""

import os
import signal
import time
from statistics import median

from deployed import Place, Served, marks
from load import Load
from measurement import CONNECTIONS, IDENTITY, Client, Counts, Row, measure, p99
from raw import rsa_keys_per_cpu_second
from tree import tree

# Well below what one process answers, so that latency is the machine's and not the queue's.
_RATE = 300.0


def pool(home: Place, counts: Counts, settings: str) -> list[Row]:
    """Measure the pool in its three states, and from a full one what a larger request costs."""
    return [
        full(home, counts, settings),
        sustained(home, counts, settings),
        refilling(home, counts, settings),
        tree(home, counts, settings),
    ]


def full(home: Place, counts: Counts, settings: str) -> Row:
    """Measure identities whose keys were all made before."""
    home.fill(counts.identities + 8 * CONNECTIONS, settings)
    with home.serving() as service, Load(Client(service).plan("POST", ["/identity"], IDENTITY)) as load:
        load.run(4 * CONNECTIONS)
        found = measure(service, load, counts.identities, counts)
    raw = found.raw / 2
    print(f"identities: {found.per_cpu_second:.0f} per server CPU s, {found.per_second:.0f} per s of wall time")
    return Row("identity_ratio", found.per_cpu_second / raw, "of raw RSA signatures/CPU s / 2, full pool", raw, 0.5)


def sustained(home: Place, counts: Counts, settings: str) -> Row:
    """Measure identities as fast as keys can be made: the CPU of the service and of what fills the pool."""
    home.set(f"[pool]\nmakers = 2\n{marks(32, 32)}\n{settings}")
    with home.serving() as service, Load(Client(service).plan("POST", ["/identity"], IDENTITY)) as load:
        # Empties what the pool holds.
        load.run(8 * CONNECTIONS)
        cpu, made, looks = 0.0, 0, []
        for _ in range(4):
            before = service.all_cpu_seconds()
            made += load.run(counts.sustained // 4).requests
            cpu += service.all_cpu_seconds() - before
            with _paused(service):
                looks.append(rsa_keys_per_cpu_second(counts.sustained // 4))
    raw = sum(looks) / len(looks)
    print(f"identities sustained: {made / cpu:.1f} per CPU s of service and filler")
    return Row("identity_sustained_ratio", made / cpu / raw, "of raw RSA-2048 keys/CPU s", raw, 0.9)


def refilling(home: Place, counts: Counts, settings: str) -> Row:
    """Measure signatures due at a fixed rate, with keys being made beside them and, turn about, without.

    By as many makers as there are if nothing is said. The median of the parts' p99s is taken: a hiccup of the machine
    is in one of them.
    """
    home.set(f"[pool]\n{marks(100_000, 100_000)}\n{settings}")
    with home.serving() as service:
        client = Client(service)
        targets = client.signing_targets()
        share = counts.paced // counts.paced_parts
        with Load(client.plan("GET", targets, rate=_RATE)) as load:
            load.run(share)
            quiet: list[float] = []
            busy: list[float] = []
            for _ in range(counts.paced_parts // 2):
                busy.append(p99(load.run(share).latencies))
                with _paused(service):
                    time.sleep(0.05)
                    quiet.append(p99(load.run(share).latencies))
    with_refill, without = median(busy), median(quiet)
    print(f"p99 of signatures at {_RATE:.0f}/s: {with_refill * 1e3:.1f} ms while keys are made, {without * 1e3:.1f} ms")
    return Row("refill_p99_factor", with_refill / without, "times the p99 without refill", without * 1e3, 1.5, True)


class _paused:  # noqa: N801 - read as a verb
    """Stops what fills the pool for as long as a block lasts."""

    def __init__(self, service: Served) -> None:
        self._children = service.children

    def __enter__(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGCONT)
