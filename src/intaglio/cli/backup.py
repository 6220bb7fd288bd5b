"""`intaglio backup` and `intaglio restore`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say
from intaglio.service import backup as backups


@command
def backup(
    target: Annotated[Path, typer.Argument(help="The new folder of the backup.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Copy the home and its SQLite database, consistently, while the service runs; no key of an identity is in it."""
    made = backups.back_up(home, target, datetime.now(UTC))
    text = f"Backed up {home} to {target}: {len(made.files)} files."
    if made.database != "sqlite":
        text += "\nThe database is not in it: back it up now, with its own means (docs/operate/backup.md)."
    for key, reference in made.left_out.items():
        text += f"\nNot in it, to be kept apart: {key}, {reference}"
    say(made, text, as_json=as_json)


@command
def restore(
    source: Annotated[Path, typer.Argument(help="The folder of the backup.")],
    home: HomeOption = DEFAULT_HOME,
    database: Annotated[
        Path | None, typer.Option(help="SQLite's file, if the settings have it outside the home.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a home from a backup, where there is none; PostgreSQL is restored before."""
    made, lost = backups.restore(source, home, datetime.now(UTC), database)
    text = f"Restored {home} as it was at {made.made_at:%Y-%m-%d %H:%M:%S} UTC."
    if lost:
        text += "\nThe keys of identities of then are given up: nobody can open them."
    for key, reference in made.left_out.items():
        text += f"\nTo be put in its place: {key}, {reference}"
    say({"backup": made, "epochs_given_up": lost}, text, as_json=as_json, then=f"intaglio ledger verify --home {home}")
