"""A change of the hierarchy that was killed anywhere is gone on with, and nothing is made or signed twice."""

import json
import os
import sys
from pathlib import Path

from served import run

SCRIPT = Path(__file__).parent / "interrupted.py"
# In software: a process that has opened a token does not survive a fork with it.
PATHS = {
    "INTAGLIO_TEST_CUSTODY": "software",
    "PYTHONPATH": os.pathsep.join([str(SCRIPT.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]),
}


def test_killed_at_every_durable_moment_it_comes_to_its_end(tmp_path: Path) -> None:
    counts = json.loads(run(sys.executable, SCRIPT, tmp_path, environment=PATHS).stdout)
    assert counts["create_root"] >= 8
    assert counts["install_authority"] >= 8
    assert all(number >= 1 for number in counts.values()), counts


def test_a_change_that_forgets_what_it_did_is_found_out(tmp_path: Path) -> None:
    done = run(sys.executable, SCRIPT, tmp_path, "forgetful", environment=PATHS, check=False)
    assert b"a key was certified twice" in done.stderr
