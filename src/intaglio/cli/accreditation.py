"""`intaglio accreditation`: which issuing CAs may issue qualified certificates."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from intaglio.accounts.profiles import accreditation, changes
from intaglio.cli.acting import AsOption, AsSecretOption, key_of, told
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say, table
from intaglio.database.engine import reading, transaction
from intaglio.errors import Malformed
from intaglio.service.acting import alone
from intaglio.service.home import open_home
from intaglio.service.oversight import submit
from intaglio.service.profile_acts import Accredit

app = typer.Typer(help="Accreditations: which CAs may issue qualified certificates.", no_args_is_help=True)

IssuerArgument = Annotated[str, typer.Argument(metavar="CA", help="The issuing CA's name.")]


@app.command()
@command
def record(
    issuer: IssuerArgument,
    evidence: Annotated[Path, typer.Option(help="The evidence, a file: its SHA-256 is recorded.")],
    reference: Annotated[str, typer.Option(help="What it is, in a line: who assessed, number, trusted list.")],
    until: Annotated[str, typer.Option(help="The last day that it holds, as YYYY-MM-DD, UTC.")],
    device: Annotated[bool, typer.Option("--device", help="Keys are in qualified devices, too.")] = False,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Record that an issuing CA is accredited for qualified certificates; a second person has to agree."""
    try:
        end = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1, seconds=-1)
    except ValueError as error:
        raise Malformed("The day cannot be read.", {"until": "must be YYYY-MM-DD"}) from error
    digest = hashlib.sha256(evidence.read_bytes()).hexdigest()
    asked = Accredit(issuer, reference, digest, device, end)
    key = key_of(acting, secret)
    outcome = submit(open_home(home), key, "accreditation.record", asked, datetime.now(UTC))
    told(outcome, outcome.result, f"{issuer} is accredited until {until}.", as_json=as_json)


@app.command()
@command
def withdraw(
    issuer: IssuerArgument,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")],
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Record that an issuing CA is accredited no more; one person is enough, and a second later nothing is."""
    now = datetime.now(UTC)
    about = {"issuer": issuer, "reason": reason}
    acted = alone(open_home(home), key_of(acting, secret), "accreditation.withdraw", about, now)
    with transaction(acted.engine) as connection:
        gone = changes.withdraw_accreditation(connection, acted.chain, issuer, reason, now)
    say(gone, f"{issuer} is accredited no more.", as_json=as_json)


@app.command()
@command
def show(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show which CAs are accredited, until when, and by which evidence."""
    with reading(open_home(home).engine) as connection:
        found = accreditation.every(connection)
    rows = [msgspec.structs.asdict(one) for one in found]
    columns = ["issuer", "until", "device", "reference", "evidence_sha256"]
    say(found, table(rows, columns) if rows else "No CA is accredited.", as_json=as_json)
