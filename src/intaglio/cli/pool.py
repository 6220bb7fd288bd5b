"""`intaglio pool`: the keys that wait for identities."""

import asyncio
from datetime import UTC, datetime

import msgspec
import typer

from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, note, say, table
from intaglio.database.engine import reading
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.priority import give_way
from intaglio.keys.register import Depth, depths
from intaglio.service.home import open_home
from intaglio.service.refill import filler, rules

app = typer.Typer(help="The pool of keys made ahead for identities.", no_args_is_help=True)


@app.command()
@command
def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show how many keys are ready, the water marks, and how fast keys are made."""
    opened = open_home(home)
    marks = rules(opened.settings).marks
    with reading(opened.engine) as connection:
        rows = depths(connection, opened.identities, marks, datetime.now(UTC))
    empty = [row.algorithm for row in rows if row.ready == 0]
    text = table([msgspec.structs.asdict(row) for row in rows], list(Depth.__struct_fields__))
    if empty:
        text += f"\nEmpty: {', '.join(empty)}. Is the service running, and are pool.makers at work on some node?"
    say(rows, text or "Nothing is made ahead: [pool.marks] is empty.", as_json=as_json, then="intaglio pool fill")


@app.command()
@command
def fill(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Fill the pool to its high marks now, with all of pool.makers at full speed; for before a peak."""
    opened = open_home(home)

    def progress(algorithm: KeyAlgorithm, ready: int, high: int) -> None:
        if not as_json:
            note(f"{algorithm}: {ready} of {high}")

    async def work() -> int:
        async with filler(opened, max(1, opened.settings.pool.makers), give_way) as found:
            return await found.top_up(progress)

    made = asyncio.run(work())
    say({"made": made}, f"Made {made} keys; the pool is full.", as_json=as_json, then="intaglio pool status")
