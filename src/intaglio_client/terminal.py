"""What the commands have in common: options, exit codes, and how errors are told."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from intaglio_client.errors import ClientError, Refused, Unusable
from intaglio_client.report import Verdict, visible

EXIT_CODES: Final = """Exit codes: 0 done or valid, 1 invalid or not signed, 2 wrong usage or file,
3 indeterminate, 4 refused by the service, 5 service not reached or not understood."""

CONNECTION: Final = "Connection"

BaseUrl = Annotated[
    str | None,
    typer.Option(envvar="INTAGLIO_BASE_URL", help="As in https://sign.example:8443.", rich_help_panel=CONNECTION),
]
CredentialsFile = Annotated[
    Path | None,
    typer.Option(envvar="INTAGLIO_CREDENTIALS", help="JSON: api_key, api_secret.", rich_help_panel=CONNECTION),
]
ClientCert = Annotated[
    Path | None,
    typer.Option(envvar="INTAGLIO_CLIENT_CERT", help="PEM; may hold the chain.", rich_help_panel=CONNECTION),
]
ClientKey = Annotated[
    Path | None,
    typer.Option(
        envvar="INTAGLIO_CLIENT_KEY",
        help="PEM; its passphrase comes from INTAGLIO_CLIENT_KEY_PASSPHRASE.",
        rich_help_panel=CONNECTION,
    ),
]
ServerCa = Annotated[
    Path | None,
    typer.Option(envvar="INTAGLIO_SERVER_CA", help="PEM; the CA of the server.", rich_help_panel=CONNECTION),
]
ProfileFile = Annotated[
    Path | None,
    typer.Option(
        envvar="INTAGLIO_PROFILE",
        help="TOML or JSON file of base_url, credentials, client_cert, client_key, client_key_passphrase_env, "
        "server_ca and identity; paths are relative to it.",
        rich_help_panel=CONNECTION,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def quiet() -> None:
    """Have pyHanko not log what it finds wrong: the report says it, once and in words."""
    for name in ("pyhanko", "pyhanko_certvalidator"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def exit_by(verdict: Verdict) -> None:
    """Raise `typer.Exit` unless it is valid."""
    code = {Verdict.VALID: 0, Verdict.INVALID: 1, Verdict.INDETERMINATE: 3}[verdict]
    if code:
        raise typer.Exit(code)


@contextmanager
def errors_told() -> Iterator[None]:
    """Tell what the client raises, and raise `typer.Exit` with its code."""
    try:
        yield
    except ClientError as error:
        tell(error, "")
        raise typer.Exit(exit_code(error)) from error


def tell(error: ClientError, where: str) -> None:
    """Write an error, and what to do about it, on standard error."""
    typer.echo("\n".join(map(visible, f"{where}{error}".split("\n"))), err=True)
    if not isinstance(error, Unusable):
        typer.echo(f"  {error.hint}", err=True)


def exit_code(error: ClientError) -> int:
    """Return the code that an error ends a command with."""
    if isinstance(error, Unusable):
        return 2
    return 4 if isinstance(error, Refused) else 5
