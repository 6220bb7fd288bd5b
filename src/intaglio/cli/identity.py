"""`intaglio identity`: the life of an identity and of its key."""

from datetime import datetime
from typing import Annotated

import typer

from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say
from intaglio.database.engine import reading
from intaglio.service.home import open_home
from intaglio.signing.biography import Biography, biography

app = typer.Typer(help="Identities: what became of them and their keys.", no_args_is_help=True)


@app.command()
@command
def show(
    identity_id: Annotated[str, typer.Argument(metavar="ID", help="The identity's id.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show when an identity's key was born, how often it signed, and how it was destroyed."""
    with reading(open_home(home).engine) as connection:
        found = biography(connection, identity_id)
    say(found, _text(found), as_json=as_json, then="intaglio ledger verify")


def _text(found: Biography) -> str:
    lines = {
        "identity": found.id,
        "account": found.account_id,
        "subject": found.subject,
        "certificate": f"{found.issuer}/{found.serial}, {found.state}, until {_time(found.not_after)}",
        "key": f"{found.algorithm}, {found.form}",
        "born": _time(found.born_at),
        "certified": _time(found.certified_at) + _entry(found, "identity.created"),
        "used": f"{found.used} signature{'' if found.used == 1 else 's'}",
        "key destroyed": _ended(found, found.key_destroyed_at, "key.destroyed"),
        "epoch": found.epoch,
        "epoch destroyed": _ended(found, found.epoch_destroyed_at, "epoch.destroyed"),
    }
    width = max(map(len, lines)) + 2
    text = "\n".join(f"{name.ljust(width)}{value}" for name, value in lines.items())
    if found.epoch_destroyed_at is not None:
        return f"{text}\nThe key that sealed it is destroyed: no copy of the store can sign for it."
    if found.key_destroyed_at is not None:
        return f"{text}\nA copy of the store from before could still be opened until the epoch is destroyed."
    return text


def _time(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="seconds")


def _entry(found: Biography, kind: str) -> str:
    return f"  (ledger {found.entries[kind]})" if kind in found.entries else ""


def _ended(found: Biography, at: datetime | None, kind: str) -> str:
    return "not yet" if at is None else _time(at) + _entry(found, kind)
