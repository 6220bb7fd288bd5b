"""Reading a script: strictly, and every fault named with its place."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from intaglio.ceremony import rules
from intaglio.ceremony.officer import Officer
from intaglio.ceremony.script import Place, Script, Witness
from intaglio.ceremony.steps import Step
from intaglio.errors import ContentRefused, Malformed
from intaglio.pki.text import visible

FORMAT = 1
MOST_OCTETS = 1 << 20


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file's own shape; its tables are read one by one, so that a fault in one hides none in the next."""

    format: int
    title: str
    purpose: str
    place: str
    quorum: int
    home: dict[str, Any]
    officers: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    witnesses: list[dict[str, Any]] = []
    software: str | None = None


def load(path: Path) -> Script:
    """Read and check the script at `path`; raises `Malformed` or `ContentRefused` with every fault and its place."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise Malformed(f"{path} cannot be read.", {"script": str(error.strerror)}) from error
    return read(raw)


def read(raw: bytes) -> Script:
    """Read and check a script; raises `Malformed` or `ContentRefused` with every fault and its place."""
    if len(raw) > MOST_OCTETS:
        raise Malformed("The script is too long.", {"script": f"must have at most {MOST_OCTETS} octets"})
    try:
        text = raw.decode()
        document = msgspec.toml.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("The script is not TOML.", {"script": visible(str(error))}) from error
    faults: dict[str, str] = {}
    file = _converted(document, _File, "", faults)
    if file is None:
        raise _refused(faults)
    if file.format != FORMAT:
        faults["format"] = f"must be {FORMAT}"
    home = _converted(file.home, Place, "home", faults)
    officers = _each(file.officers, Officer, "officers", faults)
    witnesses = _each(file.witnesses, Witness, "witnesses", faults)
    steps = _each(file.steps, Step, "steps", faults)
    if faults or home is None:
        raise _refused(faults)
    script = Script(
        text=text,
        sha256=hashlib.sha256(raw).hexdigest(),
        title=file.title,
        purpose=file.purpose,
        place=file.place,
        quorum=file.quorum,
        software=file.software,
        home=home,
        officers=tuple(officers),
        witnesses=tuple(witnesses),
        steps=tuple(steps),
    )
    faults = rules.faults(script)
    if faults:
        raise _refused(faults)
    return script


def _refused(faults: Mapping[str, str]) -> ContentRefused:
    # Faults repeat what the script says: it is somebody else's, and they are shown at a terminal.
    shown = {visible(place): visible(reason) for place, reason in faults.items()}
    return ContentRefused("The script cannot be used.", shown)


def _each(tables: list[dict[str, Any]], kind: Any, name: str, faults: dict[str, str]) -> list[Any]:
    found = [_converted(table, kind, f"{name}[{place}]", faults) for place, table in enumerate(tables)]
    return [one for one in found if one is not None]


def _converted(table: Mapping[str, Any], kind: Any, place: str, faults: dict[str, str]) -> Any:
    """Return `table` as `kind`, or None and the fault under its place: `steps[0].algorithm`."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        reason, _, inner = str(error).partition(" - at `$")
        faults[f"{place}{inner.rstrip('`')}".lstrip(".") or "script"] = reason
        return None
