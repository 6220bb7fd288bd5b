"""Who acts: the options by which a person at a terminal shows a key, and what is told of an act that waits."""

from pathlib import Path
from typing import Annotated, Any

import typer

from intaglio.cli.secret import asked, resolved
from intaglio.cli.terminal import say, table
from intaglio.pki.text import visible
from intaglio.service.acting import Opens
from intaglio.service.oversight import Outcome
from intaglio.staff import key_file
from intaglio.staff.signature import SecretKey

AsOption = Annotated[
    Path | None,
    typer.Option("--as", help="Your key file, which says who you are.", envvar="INTAGLIO_AS", show_default="none"),
]
AsSecretOption = Annotated[
    str | None,
    typer.Option(
        "--as-secret",
        help="Where its passphrase is: file:PATH or env:NAME.",
        envvar="INTAGLIO_AS_SECRET",
        show_default="asked for",
    ),
]


def key_of(path: Path | None, secret: str | None) -> Opens | None:
    """Return what opens the key of who acts, once it is needed; None if nobody is said to.

    It raises `Malformed`, or `Unauthenticated` for a wrong passphrase.
    """
    if path is None:
        return None

    def opens() -> SecretKey:
        passphrase = resolved(secret) if secret is not None else asked(f"Passphrase of {path}: ")
        return key_file.unlock(path, passphrase)

    return opens


def told(outcome: Outcome, found: Any, text: str, *, as_json: bool, then: str | None = None) -> None:
    """Print what was done, or that it waits for a second person."""
    approval = outcome.approval
    if outcome.done or approval is None:
        say(found, text, as_json=as_json, then=then)
        return
    waiting = {"approval": approval.id, "act": approval.act, "expires_at": approval.expires_at}
    until = f"{approval.expires_at:%Y-%m-%d %H:%M} UTC"
    words = f"Nothing is changed yet: {approval.act} waits for a second person until {until}.\napproval: {approval.id}"
    say(waiting, words, as_json=as_json, then=f"intaglio approvals show {approval.id}")


def shown_changes(rows: list[dict[str, str]]) -> str:
    """Return what differs, in columns."""
    cleaned = [{column: visible(value) for column, value in row.items()} for row in rows]
    return table(cleaned, ["place", "before", "after"]) if cleaned else "Nothing differs."
