"""Running commands, bounded in time."""

import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def run(
    *command: str | Path, stdin: bytes | None = None, check: bool = True, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command, bounded in time; its output is in the failure's message."""
    done = subprocess.run(
        [str(part) for part in command],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if check:
        assert done.returncode == 0, (command, done.stdout.decode(), done.stderr.decode())
    return done
