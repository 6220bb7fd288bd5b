"""Every MUST of `docs/certificate-profiles.md` names tests that there are, and every profile has its place there."""

import ast
import re
from pathlib import Path

from intaglio.pki.profiles import PROFILES

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/certificate-profiles.md").read_text(encoding="utf-8")
IN_TWO_FILES = ("tests/pki/test_profiles.py", "tests/pki/test_signing_profiles.py")


def functions_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_must_names_a_test() -> None:
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("|") and "MUST" in line]
    assert len(rows) > 60
    here = set().union(*map(functions_of, IN_TWO_FILES))
    for row in rows:
        named = re.findall(r"`((?:tests/[\w/]+\.py)?(?:::)?(?:test_\w+)?)`", row.rsplit("|", 2)[1])
        assert named, row
        for one in named:
            path, _, function = one.rpartition("::")
            if path:
                assert function in functions_of(path), one
            elif one.endswith(".py"):
                assert functions_of(one), one
            else:
                assert one in here, one


def test_every_profile_has_its_place() -> None:
    heads = set(re.findall(r"`([\w-]+)`", " ".join(line for line in DOCUMENT.splitlines() if line.startswith("## "))))
    assert set(PROFILES) - {"staff"} <= heads
