"""`intaglio policy`: what an account may have certified."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.accounts import register
from intaglio.accounts.difference import changes
from intaglio.accounts.policy import load, propose
from intaglio.accounts.profiles import accreditation, choice
from intaglio.cli.acting import AsOption, AsSecretOption, key_of, told
from intaglio.cli.certificate_text import described
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, read_json, say, table
from intaglio.database.engine import reading
from intaglio.errors import IssuanceRefused, Malformed, RequestRefused
from intaglio.pki import public_key
from intaglio.pki.hierarchy import Hierarchy
from intaglio.pki.lint import Accreditation
from intaglio.pki.signature import names
from intaglio.pki.text import visible
from intaglio.service.acts import SetPolicy
from intaglio.service.home import open_home
from intaglio.service.oversight import submit
from intaglio.signing.preview import preview

app = typer.Typer(help="Validation policies: what an account may have certified.", no_args_is_help=True)

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")]


@app.command()
@command
def show(account: AccountArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Print the policy in force, as JSON: edit it and give it to `policy set`."""
    with reading(open_home(home).engine) as connection:
        register.find(connection, account)
        document, _ = register.policy_document(connection, account)
    say(document, msgspec.json.format(msgspec.json.encode(document), indent=2).decode(), as_json=as_json)


@app.command(name="set")
@command
def set_policy(
    account: AccountArgument,
    file: Annotated[Path, typer.Option(help="The policy as a JSON document.")],
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check a policy and put it in force as a new version; in production this waits for a second person."""
    document = read_json(file, "file")
    if not isinstance(document, dict):
        raise Malformed("A policy is a JSON object.", {"policy": "must be an object"})
    asked = SetPolicy(account, document)
    outcome = submit(open_home(home), key_of(acting, secret), "policy.set", asked, datetime.now(UTC))
    words = f"Version {outcome.result['version']} of the policy is in force." if outcome.done else ""
    told(outcome, outcome.result, words, as_json=as_json, then=f"intaglio policy history {account}")


@app.command(name="test")
@command
def try_policy(
    account: AccountArgument,
    requests: Annotated[list[Path], typer.Option("--request", help="An identity request as JSON; may be repeated.")],
    file: Annotated[
        Path | None, typer.Option(help="A policy as a JSON document.", show_default="the policy in force")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for what the certificates would be, in PEM.", show_default="none")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show what would be certified for example requests, or why not; nothing is issued, recorded or put in force.

    Ends with 1 if any of the requests is refused.
    """
    opened = open_home(home)
    with reading(opened.engine) as connection:
        owner = register.find(connection, account)
        document = register.policy_document(connection, account)[0] if file is None else read_json(file, "file")
        profile = choice.of(connection, owner)
        accredited = {one.issuer: one for one in accreditation.every(connection)}
    policy = (load if file is None else propose)(document, profile)
    issuing = opened.roster().family(owner.hierarchy).issuing
    signs_with = (
        None if issuing is None else names(public_key.check(opened.certificate(issuing).public_key(), "issuing"))
    )
    now, found, texts, refused = datetime.now(UTC), [], [], False
    for number, path in enumerate(requests, 1):
        sent = read_json(path, "request")
        try:
            test = owner.hierarchy == Hierarchy.TEST
            level = accredited[issuing].level(now) if issuing in accredited else Accreditation.NONE
            made = preview(policy, sent, opened.places, now, signs_with, test=test, accredited=level)
        except RequestRefused as error:
            reasons = dict(error.fields)
        except IssuanceRefused as error:
            reasons = {"certificate": str(error)}
        else:
            certified = described(made)
            found.append({"request": str(path), "certified": certified})
            texts.append(f"{path}: would be certified\n" + _lines(certified))
            if out is not None:
                _write(out / f"{number}-{path.stem}.crt", made)
            continue
        refused = True
        found.append({"request": str(path), "refused": reasons})
        texts.append(f"{path}: refused\n" + _lines(reasons))
    then = f"intaglio policy set {account} --file {file}" if file is not None and not refused else None
    say(found, "\n\n".join(texts), as_json=as_json, then=then)
    if refused:
        raise typer.Exit(1)


@app.command()
@command
def history(account: AccountArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show every version of an account's policy: when it came, who put it in force, and what changed with it."""
    with reading(open_home(home).engine) as connection:
        versions = register.policy_versions(connection, account)
    found, texts = [], []
    before: dict[str, Any] = {}
    for one in versions:
        changed = list(changes(before, one.document)) if before else []
        before = one.document
        found.append({"version": one.version, "at": one.at, "author": one.author, "changes": changed})
        head = f"Version {one.version}, {one.at:%Y-%m-%d %H:%M:%S} UTC, by {one.author or 'unknown (see the ledger)'}"
        rows = [
            {"place": visible(change.path), "before": _json(change.before), "after": _json(change.after)}
            for change in changed
        ]
        texts.append(f"{head}\n{table(rows, ['place', 'before', 'after'])}" if rows else head)
    say(found, "\n\n".join(texts), as_json=as_json, then=f"intaglio policy show {account}")


def _json(value: Any) -> str:
    return "" if value is None else visible(msgspec.json.encode(value).decode())


def _lines(fields: Mapping[str, str]) -> str:
    shown = {visible(name): visible(value) for name, value in fields.items()}
    width = max(map(len, shown)) + 2
    return "\n".join(f"  {name.ljust(width)}{value}" for name, value in shown.items())


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
