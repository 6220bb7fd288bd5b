"""`intaglio ledger`: read the record, and check that nobody changed it."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from intaglio.cli.acting import AsOption, AsSecretOption, key_of, told
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, note, say
from intaglio.database.engine import reading
from intaglio.ledger import writer
from intaglio.ledger.examination import Examined, examine
from intaglio.ledger.head import read_key
from intaglio.ledger.outside import kept
from intaglio.pki.text import visible
from intaglio.service import export as exporting
from intaglio.service import receipts
from intaglio.service.heads import KEY_FILE, verifying_key
from intaglio.service.home import open_home
from intaglio.service.oversight import submit
from intaglio.service.retention import Prune
from intaglio.service.stamping import judge

_TELL_SECONDS = 5.0

app = typer.Typer(help="The ledger: what happened, in order, tamper-evident.", no_args_is_help=True)


def _told(entry: writer.Recorded) -> dict[str, Any]:
    if entry.body:
        return msgspec.json.decode(entry.body)  # type: ignore[no-any-return]
    columns = ("chain", "sequence", "at", "kind", "account_id", "reference", "request_id")
    kept = {name: msgspec.to_builtins(getattr(entry, name)) for name in columns}
    return {**kept, "actor": "(removed)", "details": {}}


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
    entries = [{**_told(one), "hash": one.hash.hex()} for one in found]
    text = "\n".join(_line(entry) for entry in entries) or "There is no such entry."
    say(entries, text, as_json=as_json, then="intaglio ledger verify")


@app.command()
@command
def verify(
    heads: Annotated[
        list[Path] | None,
        typer.Option(help="Heads that were kept outside: a folder, or a file; may be repeated.", show_default="none"),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The ledger's key, kept outside, too.", show_default="that of the home")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check every entry, the tree and every signed head; names the first entry or head that does not hold."""
    opened = open_home(home)
    known = verifying_key(opened) if key is None else read_key(key.read_text(encoding="utf-8", errors="replace"))
    # Looked for before the ledger is.
    outside = None if not heads else chain.from_iterable([kept(one) for one in heads])
    with reading(opened.engine, patient=True) as connection:
        found = examine(connection, known, outside, _progress(), judge(opened))
    say(found, _verified(found), as_json=as_json)


def _verified(found: Examined) -> str:
    heads = "\n".join(f"head of {name}: {head}" for name, head in found.heads.items())
    removed = f", and of {found.removed} old ones the hash alone is left" if found.removed else ""
    agreed = "That two people agreed to what was removed: intaglio approvals verify\n" if found.removed else ""
    outside = (
        f"{found.outside} heads from outside fit."
        if found.outside is not None
        else "No heads from outside were given (--heads): those alone show that the ledger was not cut, restored from "
        "before or recomputed as a whole."
    )
    return (
        f"{found.entries} entries hold, {found.leaves} of them in the tree{removed}.\n{heads}\n"
        f"root of the tree: {found.root}\n"
        f"{found.signed_heads} signed heads and {found.stamps} time-stamps on them hold.\n{agreed}{outside}"
    )


def _progress() -> Callable[[int], None]:
    """Return what tells, on standard error and every few seconds, how far it is."""
    last = time.monotonic()

    def tell(entries: int) -> None:
        nonlocal last
        if time.monotonic() - last > _TELL_SECONDS:
            last = time.monotonic()
            note(f"{entries} entries hold so far")

    return tell


@app.command()
@command
def prove(
    about: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="An identity, a request (x-request-id), a time-stamp's serial number, or CHAIN/NUMBER."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="standard output")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print a receipt: the entries about it, with proofs that verify without the service and the ledger."""
    receipt = receipts.prove(open_home(home), about)
    if out is None:
        sys.stdout.write(receipt.decode())
    else:
        out.write_bytes(receipt)
        note(f"Written to {out}. Verify it: intaglio-client receipt verify {out} --key FILE --trust ROOT")


@app.command()
@command
def export(
    out: Annotated[Path, typer.Option(help="File to write; what is in it may be removed from the ledger later.")],
    since: Annotated[datetime | None, typer.Option(help="From this moment on, UTC.", show_default="all")] = None,
    until: Annotated[datetime | None, typer.Option(help="Before this moment, UTC.", show_default="all")] = None,
    chain_name: Annotated[str | None, typer.Option("--chain", help="Only this chain.", show_default="all")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write entries as JSON lines, each with a proof under the signed head in the first line."""
    opened = open_home(home)
    with out.open("xb") as file:
        try:
            found = exporting.export(opened, file, since=_utc(since), until=_utc(until), chain=chain_name)
            exporting.flushed(file)
        except BaseException:
            # Nothing, or a part, would be taken for the whole.
            out.unlink()
            raise
    exporting.record(opened, found, datetime.now(UTC))
    text = f"{found.entries} entries written to {out}.\nSHA-256: {found.sha256}"
    then = f"intaglio-client receipt verify-export {out} --key {home / KEY_FILE} --trust {home / 'pki/root.crt'}"
    say(found, text, as_json=as_json, then=then)


@app.command()
@command
def prune(
    before: Annotated[datetime, typer.Option(help="Entries before this moment, UTC, lose their bodies.")],
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Ask for old entries of the day's business to lose what they say; hashes stay, and every proof holds.

    They must have been exported, and be under a time-stamped head.
    """
    asked = Prune(before.replace(tzinfo=UTC))
    outcome = submit(open_home(home), key_of(acting, secret), "ledger.prune", asked, datetime.now(UTC))
    told(outcome, outcome.result, "Done.", as_json=as_json)


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC)
