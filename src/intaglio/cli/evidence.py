"""`intaglio evidence`: what proved who somebody was, and its erasure."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from intaglio.accounts.verification import evidence
from intaglio.cli.acting import AsOption, AsSecretOption, key_of
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say
from intaglio.database.engine import reading, transaction, truncate_log
from intaglio.pki.text import visible
from intaglio.service.acting import Opens, for_account
from intaglio.service.home import Home, open_home

app = typer.Typer(help="Evidence: the tokens that proved who people were.", no_args_is_help=True)

IdentityArgument = Annotated[str, typer.Argument(metavar="IDENTITY", help="The identity's id.")]


def _acting(home: Path, identity: str, act: str, key: Opens | None, now: datetime, **about: str) -> Home:
    opened = open_home(home)
    with reading(opened.engine) as connection:
        account = evidence.account_of(connection, identity)
    return for_account(opened, key, act, account, now, {"identity": identity, **about})


@app.command()
@command
def show(
    identity: IdentityArgument,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show the token that proved an identity, held against the ledger; that it was looked at is recorded."""
    now = datetime.now(UTC)
    opened = _acting(home, identity, "evidence.show", key_of(acting, secret), now)
    with transaction(opened.engine) as connection:
        found = evidence.show(connection, opened.chain, opened.evidence, identity, now)
    lines = [
        f"account: {found.account_id}",
        f"ledger: {found.entry} has the commitment to this token",
        f"erased on: {found.erase_at:%Y-%m-%d}",
        *(f"{visible(name)}: {visible(msgspec.json.encode(value).decode())}" for name, value in found.claims.items()),
    ]
    say(found, "\n".join(lines), as_json=as_json)


@app.command()
@command
def erase(
    identity: IdentityArgument,
    reason: Annotated[str, typer.Option(help="Why; it is recorded, so no personal data.")],
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Erase the token that proved an identity; the ledger stays as it is."""
    now = datetime.now(UTC)
    opened = _acting(home, identity, "evidence.erase", key_of(acting, secret), now, reason=reason)
    with transaction(opened.engine) as connection:
        evidence.erase(connection, opened.chain, identity, reason, now)
    text = "The evidence is erased here; backups keep it until they end."
    if not truncate_log(opened.engine):
        text += " The write-ahead log, which is being read, keeps it until its next checkpoint."
    say({"identity_id": identity, "erased_at": now}, text, as_json=as_json, then="intaglio ledger verify")
