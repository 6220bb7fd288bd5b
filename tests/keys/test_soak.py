"""Several processes with several threads on one token: every signature verifies."""

import json
import sys
from pathlib import Path

from served import run

SOAK = Path(__file__).parents[2] / "bench/soak.py"


def test_a_short_soak_has_no_errors() -> None:
    done = run(sys.executable, SOAK, "--seconds", "4", "--json", check=False)
    found = json.loads(done.stdout)
    assert found["errors"] == []
    assert done.returncode == 0
    assert found["processes"] * found["threads"] == 16
    kinds = ("signatures, stored, RSA", "signatures, wrapped, RSA", "signatures, wrapped, ECDSA", "key pairs made")
    assert all(found["done"][kind] > 0 for kind in (*kinds, "sealing keys destroyed")), found


def test_the_soak_sees_an_error() -> None:
    """A control: with a wrapped key in another's place, it fails."""
    done = run(sys.executable, SOAK, "--seconds", "2", "--processes", "1", "--json", "--spoil", check=False)
    assert done.returncode == 1
    assert "another key" in str(json.loads(done.stdout)["errors"])
