"""`intaglio policy`: what an account may have certified."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from intaglio.accounts import onboarding, register
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say
from intaglio.database.engine import reading, transaction
from intaglio.errors import Malformed
from intaglio.service.home import open_home

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
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check a policy and put it in force as a new version."""
    try:
        document = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise Malformed(f"{file} cannot be read.", {"file": str(error.strerror)}) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"{file} is not JSON.", {"file": str(error)}) from error
    opened = open_home(home)
    with transaction(opened.engine) as connection:
        version = onboarding.set_policy(connection, opened.chain, account, document, datetime.now(UTC))
    found = {"account_id": account, "version": version}
    say(found, f"Version {version} of the policy is in force.", as_json=as_json, then=f"intaglio policy show {account}")
