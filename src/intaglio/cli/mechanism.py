"""`intaglio mechanism`: how accounts verify the people whom they have certified."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from intaglio.accounts.verification import decisions, register
from intaglio.accounts.verification.register import Mechanism, State, Type
from intaglio.cli.acting import AsOption, AsSecretOption, key_of, told
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, read_json, say, table
from intaglio.database.engine import reading, transaction
from intaglio.errors import Malformed
from intaglio.pki.text import visible
from intaglio.service.acting import Opens, for_account
from intaglio.service.acts import OfMechanism, mechanism_fields
from intaglio.service.home import open_home
from intaglio.service.oversight import submit
from intaglio.staff.statement import content_hash

app = typer.Typer(
    help="Verification mechanisms: how people are verified before they are certified.", no_args_is_help=True
)

MechanismArgument = Annotated[str, typer.Argument(metavar="MECHANISM", help="The mechanism's id.")]
ReasonOption = Annotated[str, typer.Option(help="Why; it is recorded.")]


@app.command()
@command
def apply(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The id of the account that applies.")],
    mechanism_type: Annotated[Type, typer.Option("--type", help="Who verifies.")],
    provider: Annotated[str, typer.Option(help="The provider's name.")],
    description: Annotated[str, typer.Option(help="What is verified, and how.")],
    evidence: Annotated[
        list[Path], typer.Option(help="A file that shows it (contract, audit report): its SHA-256 is kept. Repeatable.")
    ],
    rule: Annotated[
        Path | None,
        typer.Option(help="What a token of the provider must hold, as JSON.", show_default="none: the account vouches"),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=decisions.LONGEST.days, help="How long it is to be valid.")] = 365,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Apply for a mechanism on behalf of an account; prints its mechanism_id. It works once it is approved."""
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in evidence}
    if len(hashes) < len(evidence):
        raise Malformed("Two files have one name.", {"evidence": "needs different names"})
    now = datetime.now(UTC)
    document = None if rule is None else read_json(rule, "rule")
    about = {
        "type": str(mechanism_type),
        "provider": provider,
        "description": description,
        "sha256": content_hash({"evidence": hashes, "rule": document, "days": days}),
    }
    opened = for_account(open_home(home), key_of(acting, secret), "mechanism.apply", account, now, about)
    with transaction(opened.engine) as connection:
        applied = decisions.apply(
            connection,
            opened.chain,
            account,
            type=mechanism_type,
            provider=provider,
            description=description,
            evidence=hashes,
            valid_until=now + timedelta(days=days),
            now=now,
            rule=document,
            loopback_http=opened.settings.verification.loopback_http,
        )
    text = f"mechanism_id: {applied.id}\nApplied for, until {applied.valid_until:%Y-%m-%d}."
    say(mechanism_fields(applied), text, as_json=as_json, then=f"intaglio mechanism approve {applied.id}")


@app.command(name="list")
@command
def list_mechanisms(
    account: Annotated[str | None, typer.Option(help="Of this account only.", show_default="all")] = None,
    state: Annotated[State | None, typer.Option(help="In this state only.", show_default="all")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List mechanisms, oldest first."""
    with reading(open_home(home).engine) as connection:
        rows = [mechanism_fields(one) for one in register.every(connection, account, state)]
    shown = [{name: visible(str(value)) for name, value in row.items()} for row in rows]
    columns = ["mechanism_id", "account_id", "type", "depth", "provider", "state", "valid_until"]
    text = table(shown, columns) if rows else "There is none."
    say(rows, text, as_json=as_json, then="intaglio mechanism show MECHANISM")


@app.command()
@command
def show(mechanism: MechanismArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show a mechanism: what was applied for, and what was decided last."""
    with reading(open_home(home).engine) as connection:
        found = mechanism_fields(register.find(connection, mechanism))
    lines = [f"{name}: {visible(str(value))}" for name, value in found.items() if name not in {"evidence", "rule"}]
    if found["rule"] is not None:
        lines.append(f"rule: {visible(msgspec.json.encode(found['rule']).decode())}")
    lines += [f"evidence {visible(name)}: SHA-256 {sha256}" for name, sha256 in found["evidence"].items()]
    say(found, "\n".join(lines), as_json=as_json)


def _ask(mechanism: str, act: str, key: Opens | None, home: Path, *, as_json: bool) -> None:
    outcome = submit(open_home(home), key, act, OfMechanism(mechanism), datetime.now(UTC))
    told(outcome, outcome.result, "The mechanism is approved.", as_json=as_json)


@app.command()
@command
def approve(
    mechanism: MechanismArgument,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Have people certified by a mechanism that was applied for, or audited; in production a second person agrees."""
    _ask(mechanism, "mechanism.approve", key_of(acting, secret), home, as_json=as_json)


@app.command()
@command
def resume(
    mechanism: MechanismArgument,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Let a suspended mechanism work again; in production a second person agrees."""
    _ask(mechanism, "mechanism.resume", key_of(acting, secret), home, as_json=as_json)


def _decide(
    mechanism: str,
    act: str,
    decision: Callable[..., Mechanism],
    reason: str,
    key: Opens | None,
    home: Path,
    *,
    as_json: bool,
) -> None:
    opened, now = open_home(home), datetime.now(UTC)
    with reading(opened.engine) as connection:
        account = register.find(connection, mechanism).account_id
    about = {"mechanism": mechanism, "reason": reason}
    opened = for_account(opened, key, act, account, now, about)
    with transaction(opened.engine) as connection:
        decided = decision(connection, opened.chain, mechanism, reason, now)
    say(mechanism_fields(decided), f"The mechanism is {decided.state}.", as_json=as_json)


@app.command()
@command
def refuse(
    mechanism: MechanismArgument,
    reason: ReasonOption,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Refuse a mechanism, for good."""
    key = key_of(acting, secret)
    _decide(mechanism, "mechanism.refuse", decisions.refuse, reason, key, home, as_json=as_json)


@app.command()
@command
def suspend(
    mechanism: MechanismArgument,
    reason: ReasonOption,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Suspend a mechanism: within a second nobody is certified by it."""
    key = key_of(acting, secret)
    _decide(mechanism, "mechanism.suspend", decisions.suspend, reason, key, home, as_json=as_json)


@app.command()
@command
def audit(
    mechanism: MechanismArgument,
    reason: ReasonOption,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Say that a mechanism is due for audit: nobody is certified by it until it is approved again."""
    key = key_of(acting, secret)
    _decide(mechanism, "mechanism.audit", decisions.call_for_audit, reason, key, home, as_json=as_json)
