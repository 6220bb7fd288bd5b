"""Load by siege, a load generator that others wrote: as many clients, HTTP/1.1 kept alive, mutual TLS.

It is started for each run, connects anew, and cannot ask at fixed times: what is measured over long, and at a rate, has
the load of our own (`load.py`).
"""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from deployed import Served
from load import Made, Plan
from measurement import Counts, Measured, measure
from raw import rsa_signatures_per_cpu_second

_CONFIGURATION = """
protocol = HTTP/1.1
connection = keep-alive
benchmark = true
concurrent = {connections}
json_output = true
verbose = false
quiet = true
logging = false
color = false
parser = false
cache = false
timeout = 30
failures = 1
accept-encoding = identity
ssl-cert = {certificate}
ssl-key = {key}
"""


class Siege:
    """Runs of siege by one plan; it asks for the targets of a file, each with another digest."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._folder = tempfile.TemporaryDirectory(prefix="intaglio-siege-")
        self._number = 0
        text = _CONFIGURATION.format(connections=plan.connections, certificate=plan.certificate, key=plan.key)
        self._file("siegerc").write_text(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove its files."""
        self._folder.cleanup()

    def run(self, requests: int) -> Made:
        """Make so many requests over all connections; raises `RuntimeError` when one is not answered by 200."""
        each = requests // self._plan.connections
        urls = [self._url() for _ in range(each * self._plan.connections)]
        self._file("urls").write_text("\n".join(urls) + "\n")
        headers = [part for name, value in self._plan.headers.items() for part in ("--header", f"{name}: {value}")]
        done = subprocess.run(
            ["siege", "--rc", self._file("siegerc"), "--file", self._file("urls"), f"--reps={each}", *headers],
            capture_output=True,
            timeout=self._plan.seconds,
            check=False,
            env={"HOME": self._folder.name, "PATH": "/usr/bin:/bin"},
        )
        text = done.stdout.decode(errors="replace")
        told = json.loads(text[text.index("{") : text.rindex("}") + 1]) if "{" in text else {}
        if told.get("successful_transactions") != len(urls) or told.get("failed_transactions") != 0:
            raise RuntimeError(f"siege: {text[-500:]} {done.stderr.decode(errors='replace')[-500:]}")
        return Made(len(urls), float(told["elapsed_time"]))

    def _url(self) -> str:
        self._number += 1
        target = self._plan.targets[self._number % len(self._plan.targets)]
        digest = hashlib.sha256(b"siege %d" % self._number).hexdigest()
        return f"https://localhost:{self._plan.port}{target.format(digest=digest)}"

    def _file(self, name: str) -> Path:
        return Path(self._folder.name) / name


def measured(
    service: Served,
    plan: Plan,
    requests: int,
    counts: Counts,
    raw: Callable[[float], float] = rsa_signatures_per_cpu_second,
) -> Measured:
    """Measure as `measure` does, in fewer parts: the handshakes of each are the server's CPU, too."""
    fewer = msgspec.structs.replace(counts, parts=max(2, counts.parts // 4))
    with Siege(plan) as load:
        load.run(requests // fewer.parts)
        return measure(service, load, requests, fewer, raw)
