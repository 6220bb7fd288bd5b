"""A process that dies of a fault leaves nothing of its memory behind."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from served import JOHN_DOE, make_partner, small_service

PATTERN = Path("/proc/sys/kernel/core_pattern").read_text().strip()
# What a shell does that lets programs leave a dump.
ALLOWED = ("sh", "-c", 'ulimit -c unlimited; cd "$0"; exec "$@"')

pytestmark = pytest.mark.skipif(PATTERN != "core", reason="dumps do not go to the working folder here")


@pytest.fixture(autouse=True)
def allowed() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    if most == 0:
        pytest.skip("no process here may leave a dump")


def test_a_service_that_crashes_leaves_no_dump(tmp_path: Path, counted: Callable[[str], None]) -> None:
    service = small_service(tmp_path / "home")
    there = tmp_path / "there"
    there.mkdir()
    service.runner = (*ALLOWED, there)
    service.start("--workers", "2")
    partner = make_partner(service, tmp_path / "partner", "--kind", "individual", "--test")
    assert partner.post("/identity", JOHN_DOE).status_code == 200
    assert service.process is not None
    for path in Path(f"/proc/{service.process.pid}/task").glob("*/children"):
        for child in path.read_text().split():
            os.kill(int(child), signal.SIGABRT)
    time.sleep(1)
    assert service.stop(signal.SIGABRT) == -signal.SIGABRT
    partner.client.close()
    assert list(there.iterdir()) == []
    counted("SIGABRT to every process of a service with two that serve: no dump")


def test_control_another_program_leaves_one(tmp_path: Path) -> None:
    subprocess.run([*ALLOWED, tmp_path, sys.executable, "-c", "import os; os.abort()"], check=False)
    assert list(tmp_path.glob("core*"))
