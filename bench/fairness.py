"""What others notice of one account that asks too much, and what is left of a service that all ask too much."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import msgspec
from deployed import place
from load import Load, Made
from measurement import Client, Counts, Row, p99

# Of what one process can do: the limit of the noisy account, and what the quiet one asks for.
_LIMIT, _QUIET = 0.1, 0.1
_TIMES = 5
_SECONDS = 2.0
_MANY = 384
_UNLIMITED = ("--per-second", "1000000", "--burst", "1000000")


def noisy(counts: Counts, settings: str) -> list[Row]:
    """Measure the p99 of a quiet account: alone, beside one at five times its rate limit, and without the limit."""
    with place() as home, ExitStack() as stack:
        home.set(f"[pool]\nmakers = 0\n{settings}")
        other = home.another()
        service = stack.enter_context(home.serving())
        theirs = other.at(service)
        quiet, loud = Client(service), Client(theirs)
        capacity = _capacity(quiet, counts)
        rate = capacity * _QUIET
        plan = quiet.plan("GET", quiet.signing_targets(), rate=rate)
        calm = stack.enter_context(Load(plan))
        pressing = loud.plan("GET", loud.signing_targets(), rate=_TIMES * _LIMIT * capacity)
        shouting = stack.enter_context(Load(msgspec.structs.replace(pressing, refused=[429, 503])))
        limited = ("--per-second", f"{_LIMIT * capacity:.0f}", "--burst", f"{_LIMIT * capacity / 4:.0f}")
        waited: dict[str, list[float]] = {"alone": [], "limited": [], "unlimited": []}
        had = {"limited": 0, "unlimited": 0}
        theirs_at_once = int(_TIMES * _LIMIT * capacity * _SECONDS)
        for _ in range(counts.paced_parts // 2):
            waited["alone"] += calm.run(int(rate * _SECONDS)).latencies
            for state, figures in (("limited", limited), ("unlimited", _UNLIMITED)):
                home.run("account", "rate", other.account, "signatures", *figures)
                # Until it is in force, and everything that was forgotten for it is known again.
                time.sleep(1.0)
                _together((calm, int(rate / 4)), (shouting, theirs_at_once // 8))
                mine, their = _together((calm, int(rate * _SECONDS)), (shouting, theirs_at_once))
                waited[state] += mine.latencies
                had[state] += len(their.latencies)
    alone, held, free = (p99(found) * 1e3 for found in waited.values())
    print(
        f"a quiet account at {rate:.0f} per s: p99 {alone:.1f} ms alone, {held:.1f} ms beside one at {_TIMES} times "
        f"its limit of {_LIMIT * capacity:.0f} per s, {free:.1f} ms without the limit "
        f"(the other had {had['limited']} and {had['unlimited']})"
    )
    return [
        Row("noisy_p99_factor", held / alone, "times the p99 that a quiet account has alone", None, 1.3, True),
        Row("noisy_p99_factor_unlimited", free / alone, "the same without the limit (the control)", None),
    ]


def overload(counts: Counts, settings: str) -> list[Row]:
    """Measure a service that is asked for twice what it can do, over many connections; the control lets all in."""
    found: dict[str, tuple[float, float]] = {}
    for state, limit in (("admission", ""), ("all let in", "[limits]\nin_flight = 1000000\n")):
        with place() as home:
            home.set(f"[pool]\nmakers = 0\n{limit}{settings}")
            with home.serving() as service:
                client = Client(service)
                capacity = _capacity(client, counts)
                plan = client.plan("GET", client.signing_targets(), rate=2 * capacity)
                many = msgspec.structs.replace(plan, connections=_MANY, refused=[503])
                with Load(many) as load:
                    made = load.run(int(2 * capacity * 3 * _SECONDS))
                goodput = len(made.latencies) / made.seconds / capacity
                found[state] = (p99(made.latencies), goodput)
                print(
                    f"{state}: asked for {2 * capacity:.0f} per s, of which {capacity:.0f} can be done: {goodput:.2f} "
                    f"of that done, p99 {found[state][0] * 1e3:.0f} ms, {made.refused} of {made.requests} refused"
                )
    (held, goodput), (free, _) = found.values()
    return [
        Row("overload_p99_seconds", held, "s, p99 of what is let in at twice the capacity", None),
        Row(
            "overload_p99_seconds_all_let_in",
            free,
            "s, the same without it after 6 s (the control)",
            None,
        ),
        Row("overload_p99_factor", held / free, "of the p99 without it", None, 0.5, True),
        Row("overload_goodput", goodput, "of the capacity is done at twice the capacity", None, 0.6),
    ]


def _capacity(client: Client, counts: Counts) -> float:
    plan = msgspec.structs.replace(client.plan("GET", client.signing_targets()), connections=64)
    with Load(plan) as load:
        load.run(counts.timestamps // 8)
        made = load.run(counts.timestamps)
    return made.requests / made.seconds


def _together(*runs: tuple[Load, int]) -> Sequence[Made]:
    with ThreadPoolExecutor(len(runs)) as pool:
        return list(pool.map(lambda run: run[0].run(run[1]), runs))
