"""`intaglio sandbox`: the clock of a test account, and what is to fail for it; what the account can do by itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from intaglio.accounts.sandbox import Failure
from intaglio.cli.account import AccountArgument
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say
from intaglio.database.engine import reading, transaction
from intaglio.errors import NotFound
from intaglio.service.home import open_home
from intaglio.signing import sandbox
from intaglio.signing.sandbox import State

app = typer.Typer(help="Sandboxes: clock and failures of test accounts.", no_args_is_help=True)


@app.command()
@command
def show(account: AccountArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show a test account's time and what is to fail."""
    with _test_account(), reading(open_home(home).engine) as connection:
        found = sandbox.state(connection, account, datetime.now(UTC))
    _tell(found, as_json=as_json)


@app.command()
@command
def advance(
    account: AccountArgument,
    seconds: Annotated[int, typer.Argument(metavar="SECONDS", help="How far; forward only.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Advance a test account's clock."""
    _change(home, account, sandbox.advance, {"advance_seconds": seconds}, as_json=as_json)


@app.command()
@command
def fail(
    account: AccountArgument,
    failures: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FAILURE[=TIMES]]...", help=f"Of {', '.join(Failure)}; none at all ends those there are."
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Say all that is to fail for a test account."""
    wanted = [_failure(*one.partition("=")) for one in failures or []]
    _change(home, account, sandbox.force, {"failures": wanted}, as_json=as_json)


@app.command()
@command
def reset(account: AccountArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Set a test account's clock back to real time, and have nothing fail; ends its tokens and identities."""
    _change(home, account, sandbox.reset, as_json=as_json)


def _failure(name: str, counted: str, times: str) -> dict[str, Any]:
    if not counted:
        return {"failure": name}
    return {
        "failure": name,
        "remaining": int(times) if times.isascii() and times.isdigit() and len(times) < 10 else times,
    }


@contextmanager
def _test_account() -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        raise NotFound("Only test accounts have a sandbox.", {"account": "unknown, or of production"}) from error


def _change(home: HomeOption, account: str, use_case: Callable[..., State], *sent: Any, as_json: bool) -> None:
    opened = open_home(home)
    with _test_account(), transaction(opened.engine) as connection:
        found = use_case(connection, opened.chain, account, datetime.now(UTC), None, *sent)
    _tell(found, as_json=as_json)


def _tell(found: State, *, as_json: bool) -> None:
    times = [
        f"{one.failure}, {'until it is taken back' if one.remaining is None else f'{one.remaining} times more'}"
        for one in found.failures
    ]
    lines = [
        f"account's time  {found.account_time:%Y-%m-%d %H:%M:%S} UTC, {found.ahead_seconds} s ahead",
        f"to fail         {'; '.join(times) or 'nothing'}",
    ]
    say(found, "\n".join(lines), as_json=as_json)
