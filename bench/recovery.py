"""From kill -9 to the first signature: how long a service that died is missed."""

import os
import signal
import time
from statistics import median

from deployed import place
from measurement import IDENTITY, Client, Counts, Row

_DIGEST = "AB" * 32


def recovery(counts: Counts, settings: str) -> Row:
    """Kill the service, start it again, log in and sign, several times; whoever watches it is taken to act at once."""
    with place() as home:
        home.set(f"[pool]\nmakers = 0\n{settings}")
        with home.serving() as service:
            identity = Client(service).call("POST", "/identity", IDENTITY)["id"]
            os.kill(service.pid, signal.SIGKILL)
        took = []
        for _ in range(counts.kills):
            began = time.monotonic()
            with home.serving() as service:
                Client(service).call("GET", f"/identity/{identity}/sign/{_DIGEST}")
                took.append(time.monotonic() - began)
                os.kill(service.pid, signal.SIGKILL)
    print(f"from kill -9 to the first signature: {', '.join(f'{one:.2f}' for one in took)} s")
    return Row("recovery_s", median(took), "s from kill -9 to the first signature", None, 2.0, True)
