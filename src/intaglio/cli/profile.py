"""`intaglio profile`: what certificates of signers look like."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say, table
from intaglio.errors import NotFound
from intaglio.pki import profile_file
from intaglio.pki.profiles import PACKAGED, SIGNING
from intaglio.service.home import open_home
from intaglio.service.profiles import examine

app = typer.Typer(help="Certificate profiles: what certificates of signers look like.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The profile as a TOML document.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The profile's name.")]


@app.command(name="list")
@command
def list_profiles(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List the profiles that there are."""
    open_home(home)
    rows = [
        {"name": one.name, "version": one.version, "for": str(one.holder), "title": one.title}
        for one in SIGNING.values()
    ]
    say(rows, table(rows, ["name", "version", "for", "title"]), as_json=as_json, then="intaglio profile show NAME")


@app.command()
@command
def show(name: NameArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Print a profile's file: to read, or as the beginning of one's own."""
    open_home(home)
    if name not in PACKAGED:
        raise NotFound("There is no such profile.", {"name": f"one of {', '.join(PACKAGED)}"})
    document = PACKAGED[name].decode()
    say({"name": name, "document": document}, document.rstrip("\n"), as_json=as_json)


@app.command()
@command
def check(file: FileArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Try a profile: everything that would be signed under it is made by keys that are thrown away, and linted.

    Nothing is recorded or put in force. Ends with 1 if anything is found.
    """
    profile = profile_file.read(file.read_bytes())
    found = examine(open_home(home), profile, datetime.now(UTC))
    rows = [{"rule": one.rule, "of": one.of} for one in found]
    text = table(rows, ["rule", "of"]) if rows else f"{profile.name}, version {profile.version}: nothing is found."
    say({"name": profile.name, "version": profile.version, "findings": found}, text, as_json=as_json)
    if found:
        raise typer.Exit(1)
