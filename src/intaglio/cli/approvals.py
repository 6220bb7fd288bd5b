"""`intaglio approvals`: what waits for a second person: look at it, agree to it, refuse it."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from intaglio.accounts.difference import changes
from intaglio.cli.acting import AsOption, AsSecretOption, key_of, shown_changes
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, note, say, table
from intaglio.database.engine import reading
from intaglio.errors import Malformed
from intaglio.ledger import writer
from intaglio.pki.text import visible
from intaglio.service import oversight
from intaglio.service.audit import audit
from intaglio.service.home import Home, open_home
from intaglio.staff import approvals, register
from intaglio.staff.approvals import Approval
from intaglio.staff.rights import RIGHTS

app = typer.Typer(help="Approvals: what needs a second person, and what became of it.", no_args_is_help=True)

ApprovalArgument = Annotated[str, typer.Argument(metavar="APPROVAL", help="The approval's id.")]


@app.command(name="list")
@command
def list_approvals(
    everything: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List what waits, oldest first."""
    opened = open_home(home)
    oversight.expire(opened, datetime.now(UTC))
    with reading(opened.engine) as connection:
        rows = [
            {
                "approval": one.id,
                "act": one.act,
                "account_id": one.account_id,
                "state": str(one.state),
                "asked_by": register.find(connection, one.asked_by).name,
                "decided_by": None if one.decided_by is None else register.find(connection, one.decided_by).name,
                "expires_at": f"{one.expires_at:%Y-%m-%d %H:%M}",
            }
            for one in approvals.every(connection, only_open=not everything)
        ]
    words = table(rows, list(rows[0])) if rows else "Nothing waits."
    say(rows, words, as_json=as_json, then="intaglio approvals show APPROVAL" if rows else None)


@app.command()
@command
def show(approval: ApprovalArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show an approval: who asked, what it would change, and the SHA-256 that a decision is made on."""
    opened = open_home(home)
    oversight.expire(opened, datetime.now(UTC))
    found, words = _shown(opened, approval)
    say(found, words, as_json=as_json, then=f"intaglio approvals approve {approval} --as KEYFILE")


@app.command()
@command
def approve(
    approval: ApprovalArgument,
    sha256: Annotated[
        str | None, typer.Option(help="What `approvals show` gave as its SHA-256.", show_default="shown, and asked for")
    ] = None,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Agree, by your signature, to what somebody else asked for; it is done at once."""
    opened = open_home(home)
    if sha256 is None:
        if not sys.stdin.isatty():
            raise Malformed(
                "What do you agree to?", {"sha256": f"that of intaglio approvals show {approval}, or use a terminal"}
            )
        found, words = _shown(opened, approval)
        note(words)
        if not typer.confirm("Agree to this?", err=True):
            raise typer.Abort
        sha256 = str(found["sha256"])
    outcome = oversight.approve(opened, key_of(acting, secret), approval, sha256, datetime.now(UTC))
    _done(approval, outcome, as_json=as_json)


@app.command(name="carry-out")
@command
def carry_out(
    approval: ApprovalArgument,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Do what was agreed on and failed the first time."""
    outcome = oversight.carry_out(open_home(home), key_of(acting, secret), approval, datetime.now(UTC))
    _done(approval, outcome, as_json=as_json)


@app.command()
@command
def refuse(
    approval: ApprovalArgument,
    reason: Annotated[str, typer.Option(help="Why; who asked reads it.")],
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Decide against it, for good; what you asked for yourself, you take back."""
    found = oversight.refuse(open_home(home), key_of(acting, secret), approval, reason, datetime.now(UTC))
    said = {"approval": found.id, "state": found.state}
    say(said, f"It is {found.state}: {found.act}.", as_json=as_json, then="intaglio approvals list")


@app.command()
@command
def verify(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Check from the ledger that everything that needed two people had them; exit code 1 if not.

    Compare the founders' keys with what the founders say: everything else is held against those.
    """
    found = audit(open_home(home))
    lines = [
        f"founder  {one.name}, key {one.key_sha256}, {one.at:%Y-%m-%d}{', FOUNDED AGAIN' if one.again else ''}"
        for one in found.founders
    ]
    lines += [f"wrong    {one.entry} {one.kind}: {one.reason}" for one in found.findings]
    held = "does not hold" if found.findings else "holds"
    lines.append(
        f"{len(found.people)} people, {found.approvals} approvals, {found.acts} acts of one person: all of it {held}."
    )
    as_found = {
        "founders": found.founders,
        "people": len(found.people),
        "approvals": found.approvals,
        "acts": found.acts,
        "findings": found.findings,
    }
    say(as_found, "\n".join(map(visible, lines)), as_json=as_json, then="intaglio ledger verify")
    if found.findings:
        raise typer.Exit(1)


def _shown(home: Home, approval_id: str) -> tuple[dict[str, Any], str]:
    with reading(home.engine) as connection:
        one = approvals.find(connection, approval_id)
        asker = register.find(connection, one.asked_by).name
        decider = None if one.decided_by is None else register.find(connection, one.decided_by).name
        reasons = [
            str(details["reason"])
            for kind in ("approval.failed", "approval.refused", "approval.withdrawn")
            for details in writer.details(connection, one.id, kind)
        ]
    rows = _changes(one)
    kept = _kept(one)
    found = {
        "approval": one.id,
        "act": one.act,
        "account_id": one.account_id,
        "state": str(one.state),
        "asked_by": asker,
        "asked_at": one.asked_at,
        "expires_at": one.expires_at,
        "decided_by": decider,
        "decided_at": one.decided_at,
        "decides": sorted(map(str, RIGHTS[one.act].decides)),
        "reason": reasons[-1] if reasons else None,
        "about": kept,
        "changes": rows,
        "result": one.result,
        "sha256": one.content,
    }
    head = [
        f"{name}: {', '.join(value) if isinstance(value, list) else value}"
        for name, value in found.items()
        if name not in {"about", "changes", "result"} and value is not None
    ]
    head += [f"  {place}: {value}" for place, value in kept.items()]
    return found, _visible([*head, ""]) + "\n" + shown_changes(rows)


def _visible(lines: list[str]) -> str:
    # What was asked for is somebody's words: none of it may look like a line of ours.
    return "\n".join(map(visible, lines))


def _kept(one: Approval) -> dict[str, str]:
    """Return what stays as it is and says what the act is about: what is not among the changes."""
    if not isinstance(one.before, dict) or not isinstance(one.after, dict):
        return {}
    same = {name: value for name, value in one.before.items() if one.after.get(name) == value}
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in same.items()
    }


def _changes(one: Approval) -> list[dict[str, str]]:
    def text(value: Any) -> str:
        return "" if value is None else msgspec.json.encode(value).decode()

    return [
        {"place": change.path or "(all)", "before": text(change.before), "after": text(change.after)}
        for change in changes(one.before, one.after)
    ]


def _done(approval_id: str, outcome: oversight.Outcome, *, as_json: bool) -> None:
    result = outcome.result if isinstance(outcome.result, dict) else {"result": outcome.result}
    words = _visible([f"Done: {approval_id}.", *(f"{name}: {value}" for name, value in result.items())])
    said = {"approval": approval_id, "result": outcome.result}
    say(said, words, as_json=as_json, then="intaglio approvals list")
