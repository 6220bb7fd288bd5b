"""The order of fdatasync and send, as the kernel sees it: every answer leaves after the sync of its entry."""

import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from served import JOHN_DOE, Served, make_partner, small_service
from variants import variant

SIGNATURES = 50
LOOSE = ("database/sqlite.py", "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL")


@contextmanager
def traced(service: Served, output: Path) -> Iterator[None]:
    """Have strace write the syncs and sends of every thread of a service."""
    assert service.process is not None
    calls = "trace=fdatasync,fsync,write,writev,sendto,sendmsg"
    command = ("strace", "-f", "-ttt", "-y", "-s", "8", "-e", calls, "-o", output, "-p", str(service.process.pid))
    with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
        assert strace.stderr is not None
        assert b"attached" in strace.stderr.readline()
        try:
            yield
        finally:
            strace.send_signal(signal.SIGINT)
            strace.wait(30)


def unsynced(trace: str, windows: list[tuple[float, float]]) -> int:
    """Return in how many of the windows, from a request to its answer, something was sent and no log synced before."""
    synced: list[float] = []
    sent: list[float] = []
    syncing: set[str] = set()
    for line in trace.splitlines():
        thread, at, rest = line.split(None, 2)
        name = rest.removeprefix("<... ").split("(")[0].split(" ")[0]
        if name in {"fdatasync", "fsync"}:
            if "resumed>" in rest:
                if thread in syncing:
                    synced.append(float(at))
                    syncing.discard(thread)
            elif "intaglio.db-wal" in rest:
                if "unfinished" in rest:
                    syncing.add(thread)
                else:
                    synced.append(float(at))
        elif "TCP" in rest or "socket" in rest:
            sent.append(float(at))
    missing = 0
    for begun, ended in windows:
        last = max((one for one in sent if begun <= one <= ended), default=None)
        assert last is not None, "the trace does not show the answer"
        missing += not any(begun <= one <= last for one in synced)
    return missing


def answers_before_syncs(folder: Path, environment: dict[str, str]) -> int:
    # Nobody else syncs: no keys are made ahead.
    service = small_service(folder / "home", "[pool]\nmakers = 0\n")
    service.environment = environment
    service.start()
    partner = make_partner(service, folder / "partner", "--kind", "individual", "--test")
    identity = partner.post("/identity", JOHN_DOE).json()["id"]
    windows: list[tuple[float, float]] = []
    output = folder / "trace"
    try:
        with traced(service, output):
            for _ in range(SIGNATURES):
                time.sleep(0.01)
                begun = time.time()
                assert partner.get(f"/identity/{identity}/sign/{secrets.token_hex(32)}").status_code == 200
                windows.append((begun, time.time()))
    finally:
        assert service.stop() == 0
        partner.client.close()
    return unsynced(output.read_text(), windows)


def test_every_answer_leaves_after_its_sync(tmp_path: Path, counted: Callable[[str], None]) -> None:
    assert answers_before_syncs(tmp_path, {}) == 0
    counted(f"{SIGNATURES} signatures under strace: each sent after an fdatasync of the log that began with it")


def test_control_a_log_that_is_not_synced_is_seen(tmp_path: Path, counted: Callable[[str], None]) -> None:
    missing = answers_before_syncs(tmp_path, variant(tmp_path / "loose", LOOSE))
    assert missing > SIGNATURES / 2
    counted(f"synchronous=NORMAL: {missing} of {SIGNATURES} sent without a sync")
