"""`intaglio account`: open, list, show, suspend, resume and close accounts."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from intaglio.accounts import credentials, onboarding, quota, register
from intaglio.accounts.kinds import Kind
from intaglio.accounts.quota import Resource
from intaglio.accounts.register import State
from intaglio.cli.acting import AsOption, AsSecretOption, key_of, told
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say, table
from intaglio.database.engine import reading, transaction
from intaglio.errors import ContentRefused
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service.acting import Opens, for_account
from intaglio.service.acts import CreateAccount, OfAccount, account_fields
from intaglio.service.home import open_home
from intaglio.service.oversight import submit
from intaglio.service.profile_acts import SetProfile
from intaglio.service.rates import SetRate, rates_told
from intaglio.settings import RateSettings

app = typer.Typer(help="Accounts: who may use the service.", no_args_is_help=True)

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")]


@app.command()
@command
def create(
    name: Annotated[str, typer.Option(help="What the account is called; stands in its client certificates.")],
    kind: Annotated[Kind, typer.Option(help="Who signs; picks the starting validation policy.")],
    organization: Annotated[str | None, typer.Option(help="The organization to certify (not for individual).")] = None,
    country: Annotated[str | None, typer.Option(help="Its country, ISO 3166-1 alpha-2.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="What its certificates look like.", show_default="the profile of the kind")
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Issue from the test hierarchy.")] = False,
    quota_signatures: Annotated[int, typer.Option(min=0, help="Signatures granted.")] = 10_000,
    quota_timestamps: Annotated[int, typer.Option(min=0, help="Time-stamps granted.")] = 10_000,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Open an account, one for tests at once; prints its account_id. One of production waits for a second person."""
    asked = CreateAccount(
        name=name,
        kind=kind,
        hierarchy=Hierarchy.TEST if test else Hierarchy.PRODUCTION,
        organization=organization,
        country=country,
        quotas={Resource.SIGNATURES: quota_signatures, Resource.TIMESTAMPS: quota_timestamps},
        profile=profile,
    )
    outcome = submit(open_home(home), key_of(acting, secret), "account.create", asked, datetime.now(UTC))
    if not outcome.done:
        told(outcome, None, "", as_json=as_json)
        return
    made = outcome.result
    account_id = made["account_id"]
    say(
        made,
        f"account_id: {account_id}\n{made['hierarchy']} account {name!r} of kind {kind}, active.",
        as_json=as_json,
        then=f"intaglio credential create --account {account_id} --csr client.csr --out client",
    )


@app.command(name="list")
@command
def list_accounts(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List all accounts, oldest first."""
    with reading(open_home(home).engine) as connection:
        rows = [account_fields(account) for account in register.every(connection)]
    text = table(rows, ["account_id", "name", "kind", "hierarchy", "state"]) if rows else "There is no account yet."
    say(rows, text, as_json=as_json, then="intaglio account show ACCOUNT")


@app.command()
@command
def show(account: AccountArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show an account with its credentials, quotas and rates."""
    opened = open_home(home)
    with reading(opened.engine) as connection:
        found = account_fields(register.find(connection, account))
        found["quotas"] = {
            str(resource): msgspec.to_builtins(quota.read(connection, account, resource)) for resource in Resource
        }
        found["rates"] = rates_told(opened, connection, account)
        found["credentials"] = [
            {
                "credential_id": credential.id,
                "api_key": credential.api_key,
                "state": credential.state,
                "created_at": credential.created_at,
                "certificates": [
                    msgspec.to_builtins(one) for one in credentials.certificates_of(connection, credential.id)
                ],
            }
            for credential in credentials.of_account(connection, account)
        ]
    lines = [f"{name}: {value}" for name, value in found.items() if not isinstance(value, dict | list)]
    for resource, amounts in found["quotas"].items():
        granted = "not limited" if amounts["granted"] is None else f"of {amounts['granted']}"
        rate = found["rates"][resource]
        fast = f"{rate['per_second']:g} a second, {rate['burst']} at once ({rate['of']})"
        lines.append(f"{resource}: {amounts['spent']} {granted}; {fast}")
    for one in found["credentials"]:
        lines.append(f"credential {one['credential_id']}: key {one['api_key']}, {one['state']}")
        lines.extend(
            f"  client certificate {certificate['serial']}, until {certificate['not_after']}"
            + (f", revoked {certificate['revoked_at']}" if certificate["revoked_at"] else "")
            for certificate in one["certificates"]
        )
    say(found, "\n".join(lines), as_json=as_json, then=f"intaglio policy show {account}")


def _change(account: str, act: str, state: State, key: Opens | None, home: Path, *, as_json: bool) -> None:
    now = datetime.now(UTC)
    acting = for_account(open_home(home), key, act, account, now)
    with transaction(acting.engine) as connection:
        changed = onboarding.change_state(connection, acting.chain, account, state, now)
    say(account_fields(changed), f"The account {changed.name!r} is {changed.state}.", as_json=as_json)


@app.command()
@command
def suspend(
    account: AccountArgument,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Suspend an account: every request of it is refused within a second; one person is enough."""
    _change(account, "account.suspend", State.SUSPENDED, key_of(acting, secret), home, as_json=as_json)


@app.command()
@command
def resume(
    account: AccountArgument,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Let a suspended account work again; for one of production this waits for a second person."""
    outcome = submit(open_home(home), key_of(acting, secret), "account.resume", OfAccount(account), datetime.now(UTC))
    name = outcome.result["name"] if outcome.done else ""
    told(outcome, outcome.result, f"The account {name!r} is active.", as_json=as_json)


@app.command(name="profile")
@command
def choose_profile(
    account: AccountArgument,
    profile: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The profile's name.", show_default="the profile of the account's kind"),
    ] = None,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Choose what an account's certificates look like; in production this waits for a second person."""
    asked = SetProfile(account, profile)
    outcome = submit(open_home(home), key_of(acting, secret), "account.profile", asked, datetime.now(UTC))
    words = f"Certificates of the account are {outcome.result['profile']} from now on." if outcome.done else ""
    told(outcome, outcome.result, words, as_json=as_json, then=f"intaglio account show {account}")


@app.command(name="rate")
@command
def set_rate(
    account: AccountArgument,
    resource: Annotated[Resource, typer.Argument(metavar="WHAT", help=f"One of {', '.join(Resource)}.")],
    per_second: Annotated[
        float | None, typer.Option(min=0.001, max=1_000_000, help="In the long run.", show_default="as in the settings")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="At once.", show_default="as in the settings")
    ] = None,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Say how fast an account may be, or have it as in the settings; in production this waits for a second person."""
    if (per_second is None) != (burst is None):
        raise ContentRefused("A rate has two figures.", {"rate": "--per-second and --burst, both or none"})
    wanted = None if per_second is None or burst is None else RateSettings(per_second, burst)
    asked = SetRate(account, resource, wanted)
    outcome = submit(open_home(home), key_of(acting, secret), "account.rate", asked, datetime.now(UTC))
    made = outcome.result if outcome.done else None
    words = f"Of {resource}, {made['per_second']:g} a second and {made['burst']} at once." if made else ""
    told(outcome, outcome.result, words, as_json=as_json, then=f"intaglio account show {account}")


@app.command()
@command
def close(
    account: AccountArgument,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Close an account for good."""
    _change(account, "account.close", State.CLOSED, key_of(acting, secret), home, as_json=as_json)
