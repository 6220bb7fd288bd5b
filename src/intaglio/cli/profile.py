"""`intaglio profile`: what certificates of signers look like."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from intaglio.accounts.profiles import register
from intaglio.cli.acting import AsOption, AsSecretOption, key_of, told
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say, table
from intaglio.database.engine import reading
from intaglio.errors import Malformed
from intaglio.pki import profile_file
from intaglio.service.home import open_home
from intaglio.service.oversight import submit
from intaglio.service.profile_acts import AddProfile, OfProfile
from intaglio.service.profiles import check_trial, examine

app = typer.Typer(help="Certificate profiles: what certificates of signers look like.", no_args_is_help=True)

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The profile as a TOML document.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The profile's name.")]


@app.command(name="list")
@command
def list_profiles(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List the profiles that there are, and which of them are stopped."""
    with reading(open_home(home).engine) as connection:
        found = register.every(connection)
        stops = {one.name: f"stopped: {one.rule}" for one in register.every_stop(connection)}
    rows = [
        {
            "name": one.name,
            "version": one.version,
            "for": str(one.holder),
            "title": one.title,
            "state": stops.get(one.name, "in use"),
        }
        for one in found
    ]
    text = table(rows, ["name", "version", "for", "state", "title"])
    say(rows, text, as_json=as_json, then="intaglio profile show NAME")


@app.command()
@command
def show(name: NameArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Print a profile's file: to read, or as the beginning of one's own."""
    with reading(open_home(home).engine) as connection:
        newest = register.history(connection, name)[-1]
    say(newest, newest.document.rstrip("\n"), as_json=as_json)


@app.command()
@command
def history(name: NameArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show every version of a profile: when it came, who added it, and its SHA-256."""
    with reading(open_home(home).engine) as connection:
        versions = register.history(connection, name)
    rows = [msgspec.structs.asdict(one) for one in versions]
    say(versions, table(rows, ["version", "created_at", "author", "sha256"]), as_json=as_json)


def _read(file: Path) -> bytes:
    """Return a file, or as much of it as is known to be too much."""
    with file.open("rb") as opened:
        return opened.read(profile_file.MOST_BYTES + 1)


@app.command()
@command
def check(file: FileArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Try a profile: everything that would be signed under it is made by keys that are thrown away, and linted.

    Nothing is recorded or put in force. Ends with 1 if anything is found.
    """
    profile = profile_file.read(_read(file))
    found = examine(open_home(home), profile, datetime.now(UTC))
    rows = [{"rule": one.rule, "of": one.of} for one in found]
    text = table(rows, ["rule", "of"]) if rows else f"{profile.name}, version {profile.version}: nothing is found."
    say({"name": profile.name, "version": profile.version, "findings": found}, text, as_json=as_json)
    if found:
        raise typer.Exit(1)


@app.command()
@command
def add(
    file: FileArgument,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Try a profile, and add it or its next version if nothing is found; where there is staff, a second person agrees.

    It is in force at once for the accounts that have it.
    """
    raw, now, opened = _read(file), datetime.now(UTC), open_home(home)
    try:
        document = raw.decode()
    except UnicodeDecodeError as error:
        raise Malformed("The file is not text.", {"profile": str(error)}) from error
    asked = AddProfile(document)
    key = key_of(acting, secret)
    if key is not None:
        # Whoever is asked to agree shall not be asked for what cannot be.
        check_trial(opened, profile_file.own(raw), register.sha256_of(raw), now)
    outcome = submit(opened, key, "profile.add", asked, now)
    words = f"{outcome.result['name']}, version {outcome.result['version']}, is there." if outcome.done else ""
    told(outcome, outcome.result, words, as_json=as_json, then="intaglio account profile ACCOUNT NAME")


@app.command()
@command
def resume(
    name: NameArgument,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Have a profile that was stopped issue again; where there is staff, a second person agrees."""
    outcome = submit(open_home(home), key_of(acting, secret), "profile.resume", OfProfile(name), datetime.now(UTC))
    told(outcome, outcome.result, f"{name} is in use again.", as_json=as_json)
