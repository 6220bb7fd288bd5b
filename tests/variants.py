"""Versions of the service that differ in a place or two: a later one, or one with a fault that a test must see."""

import shutil
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"


def variant(folder: Path, *changes: tuple[str, str, str], **files: str) -> dict[str, str]:
    """Make a version in `folder` and return the environment that runs it.

    A change is a module's path, a text in it and what stands in its place; a file is a migration more, by its name.
    """
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path, old, new in changes:
        module = folder / "intaglio" / path
        text = module.read_text()
        assert text.count(old) == 1, f"{path} has changed: the variant has to follow"
        module.write_text(text.replace(old, new))
    for name, text in files.items():
        (folder / f"intaglio/database/migrations/versions/{name.lstrip('_')}.py").write_text(text)
    return {"PYTHONPATH": str(folder)}
