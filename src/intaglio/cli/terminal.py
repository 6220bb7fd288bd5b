"""How commands speak: text for people, JSON for scripts, errors that say what to do."""

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import msgspec
import typer

from intaglio.errors import IntaglioError, Malformed, RequestRefused
from intaglio.pki.text import visible

P = ParamSpec("P")
R = TypeVar("R")

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        help="The folder of this Intaglio.",
        envvar="INTAGLIO_HOME",
        show_default="$INTAGLIO_HOME or ./intaglio-home",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
DEFAULT_HOME = Path("intaglio-home")


def say(found: Any, text: str, *, as_json: bool, then: str | None = None) -> None:
    """Print what was done: `found` as JSON, or `text` and the command to try next."""
    if as_json:
        print(json.dumps(msgspec.to_builtins(found), ensure_ascii=False))  # noqa: T201
        return
    print(text)  # noqa: T201
    if then is not None and os.isatty(sys.stdout.fileno()):
        print(f"\nNext: {then}")  # noqa: T201


def read_json(path: Path, field: str) -> Any:
    """Return what a file holds as JSON; raises `Malformed` under the name of its option."""
    try:
        return msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise Malformed(f"{path} cannot be read.", {field: str(error.strerror)}) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"{path} is not JSON.", {field: str(error)}) from error


def note(text: str) -> None:
    """Print progress where it does not mix with what a script reads."""
    # What is told may repeat what others wrote: files, requests, transcripts.
    print("\n".join(visible(line) for line in text.split("\n")), file=sys.stderr)  # noqa: T201


def table(rows: Sequence[Mapping[str, Any]], columns: list[str]) -> str:
    """Return rows in columns, headed."""
    cells = [columns, *[["" if row[column] is None else str(row[column]) for column in columns] for row in rows]]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn errors of the tree into a sentence and exit code 1 (2 for faults of the service)."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            note(f"Error: {error.filename or 'the system'}: {error.strerror or error}")
            raise typer.Exit(2) from error
        except IntaglioError as error:
            refused = isinstance(error, RequestRefused)
            fields = error.fields if isinstance(error, RequestRefused) else {}
            if kwargs.get("as_json"):
                note(json.dumps({"error": str(error), "errors": fields}))
            else:
                note(f"Error: {error}")
                for field, reason in fields.items():
                    note(f"  {field}: {reason}")
            raise typer.Exit(1 if refused else 2) from error

    return run
