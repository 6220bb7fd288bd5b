"""Scripts to begin from, as data: `templates/*.toml`, with the officers put in their place."""

from collections.abc import Sequence
from importlib.resources import files

from intaglio.ceremony.reading import read
from intaglio.errors import ContentRefused

NAMES = ("root", "request", "issuing", "install", "rollover", "revocation")
_OFFICERS = "# OFFICERS\n"


def example(name: str, officers: Sequence[str] = ()) -> str:
    """Return an example script with `officers` (their tables, in TOML), or with samples whose keys nobody has.

    Raises `ContentRefused` for an unknown name, or when the officers do not fit.
    """
    if name not in NAMES:
        raise ContentRefused("There is no such example.", {"example": f"one of {', '.join(NAMES)}"})
    folder = files("intaglio.ceremony") / "templates"
    tables = "\n".join(table.strip() + "\n" for table in officers)
    tables = tables or (folder / "officers.toml").read_text(encoding="utf-8")
    script = (folder / f"{name}.toml").read_text(encoding="utf-8").replace(_OFFICERS, tables)
    read(script.encode())
    return script
