"""Identities with everything that a policy can say asked for, against the simplest request: what the rest costs."""

import json
from pathlib import Path

from deployed import Place
from load import Load
from measurement import CONNECTIONS, IDENTITY, Client, Counts, Row

_EXAMPLE = Path(__file__).parents[1] / "examples/full-tree"


def tree(home: Place, counts: Counts, settings: str) -> Row:
    """Measure both turn about, under one policy that allows both, with keys that were all made before."""
    everything = json.loads((_EXAMPLE / "request.json").read_bytes())
    # The CA that is measured signs with RSA.
    everything["signature"]["algorithm"] = "RSA"
    account = home.run("account", "list")[0]["account_id"]
    home.run("policy", "set", account, "--file", str(_EXAMPLE / "policy.json"))
    share = max(CONNECTIONS, counts.identities // counts.parts)
    home.fill(2 * (share * counts.parts + 4 * CONNECTIONS), settings)
    with home.serving() as service:
        client = Client(service)
        cpu = [0.0, 0.0]
        with (
            Load(client.plan("POST", ["/identity"], IDENTITY)) as simplest,
            Load(client.plan("POST", ["/identity"], everything)) as full,
        ):
            loads = (simplest, full)
            for load in loads:
                load.run(2 * CONNECTIONS)
            for _ in range(counts.parts):
                for place, load in enumerate(loads):
                    before = service.cpu_seconds()
                    load.run(share)
                    cpu[place] += service.cpu_seconds() - before
    made = share * counts.parts
    print(
        f"identities: {cpu[0] / made * 1e3:.2f} ms for the simplest request, {cpu[1] / made * 1e3:.2f} ms for the tree"
    )
    return Row("identity_tree_factor", cpu[1] / cpu[0], "times the CPU of the simplest request", None, 1.3, True)
