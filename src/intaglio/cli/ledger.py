"""`intaglio ledger`: read the record, and check that nobody changed it."""

from typing import Annotated, Any

import msgspec
import typer

from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say
from intaglio.database.engine import reading
from intaglio.ledger import writer
from intaglio.ledger.verify import verify as verify_entries
from intaglio.pki.text import visible
from intaglio.service.home import open_home

app = typer.Typer(help="The ledger: what happened, in order, tamper-evident.", no_args_is_help=True)


def _line(entry: dict[str, Any]) -> str:
    details = " ".join(f"{name}={value}" for name, value in entry["details"].items())
    about = entry["reference"] or "-"
    account = entry["account_id"] or "-"
    head = f"{entry['sequence']:>8}  {entry['at'][:23]}  {entry['kind']:<22}"
    return visible(f"{head} {entry['actor']:<10} {account:<32} {about}  {details}")


@app.command()
@command
def show(
    account: Annotated[str | None, typer.Option(help="Only this account's entries.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only entries whose kind begins so, like signature or request.refused.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest.")] = 50,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show the newest entries, oldest first."""
    with reading(open_home(home).engine) as connection:
        found = writer.latest(connection, most=most, account_id=account, kind=kind)
    entries = [{**msgspec.json.decode(one.body), "hash": one.hash.hex()} for one in found]
    text = "\n".join(_line(entry) for entry in entries) or "There is no such entry."
    say(entries, text, as_json=as_json, then="intaglio ledger verify")


@app.command()
@command
def verify(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Follow the chain from its beginning; names the first entry that does not hold."""
    with reading(open_home(home).engine) as connection:
        found = verify_entries(writer.recorded(connection))
    heads = "\n".join(f"head of {chain}: {head}" for chain, head in found.heads.items())
    say(found, f"{found.entries} entries hold.\n{heads}", as_json=as_json)
