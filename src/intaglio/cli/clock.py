"""`intaglio clock`: what the time source says of this machine's clock."""

from datetime import UTC, datetime

import msgspec
import typer

from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say
from intaglio.errors import Conflict
from intaglio.service.timekeeping import source_of, trust_of
from intaglio.settings import load

app = typer.Typer(help="The clock, and what it is held against.", no_args_is_help=True)


class Checked(msgspec.Struct, frozen=True):
    """What was found; `error_ms` is how far the clock may be off, None when nobody knows."""

    source: str
    trusted: bool
    why: str | None
    error_ms: float | None
    accuracy_ms: int
    wrong: tuple[str, ...]
    silent: tuple[str, ...]


@app.command()
@command
def check(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Ask the time source once, as the service does; exit code 2 if nothing would be stamped by this clock."""
    settings = load(home)
    ask = source_of(settings.clock)
    if ask is None:
        raise Conflict("The clock is compared with nothing.", {"clock.source": "none: see docs/operate/running.md"})
    trust = trust_of(settings)
    said = ask()
    trust.take(said)
    now = datetime.now(UTC)
    why, error = trust.trouble(now), trust.error(now)
    found = Checked(
        source=settings.clock.source,
        trusted=why is None,
        why=why,
        error_ms=None if error == float("inf") else round(error * 1000, 3),
        accuracy_ms=settings.timestamp.accuracy_ms,
        wrong=said.wrong,
        silent=said.silent,
    )
    say(found, "\n".join(_lines(found)), as_json=as_json)
    if not found.trusted:
        raise typer.Exit(2)


def _lines(found: Checked) -> list[str]:
    off = f"off by {found.error_ms} ms at most; {found.accuracy_ms} ms are promised"
    lines = [f"The clock is {off}." if found.trusted else f"The clock is not trusted: {found.why}."]
    lines += [f"Contradicted by the others: {name}" for name in found.wrong]
    lines += [f"No answer from: {name}" for name in found.silent]
    return lines
