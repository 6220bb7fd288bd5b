"""`intaglio-client receipt`: receipts and exports of the service's ledger, verified offline."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from intaglio_client.errors import Unusable
from intaglio_client.export import export_text, verify_export
from intaglio_client.profile import read_file
from intaglio_client.receipt import verify_receipt
from intaglio_client.receipt_report import receipt_text
from intaglio_client.terminal import EXIT_CODES, AsJson, errors_told, exit_by, quiet

app = typer.Typer(help="Receipts of the service's ledger.", no_args_is_help=True)


@app.command("verify", epilog=EXIT_CODES)
def verify_a_receipt(
    file: Annotated[Path, typer.Argument(help="The receipt.")],
    key: Annotated[
        Path | None, typer.Option(help="File with the ledger's key, NAME+ID+BASE64, had from elsewhere.")
    ] = None,
    trust: Annotated[
        list[Path] | None, typer.Option(help="Trusted root certificate, PEM or DER; may be repeated.")
    ] = None,
    as_json_text: AsJson = False,
) -> None:
    """Say, offline, who signed which hash when, and whether the key is destroyed; 3 without the ledger's key."""
    with errors_told():
        quiet()
        report = verify_receipt(
            read_file(file, "receipt"),
            key=None if key is None else read_file(key, "key of the ledger").decode("latin-1"),
            roots=[read_file(each, "trusted certificate") for each in trust or ()],
        )
        plain = msgspec.json.format(msgspec.json.encode(report)).decode() if as_json_text else receipt_text(report)
        typer.echo(plain)
        exit_by(report.verdict)


@app.command("verify-export", epilog=EXIT_CODES)
def verify_exported_lines(
    file: Annotated[Path, typer.Argument(help="What `intaglio ledger export` wrote.")],
    key: Annotated[Path, typer.Option(help="File with the ledger's key, NAME+ID+BASE64, had from elsewhere.")],
    trust: Annotated[
        list[Path] | None, typer.Option(help="Trusted root certificate, PEM or DER, of time-stamps; may be repeated.")
    ] = None,
    as_json_text: AsJson = False,
) -> None:
    """Check every line of an export of the ledger, offline: that it is in the tree that the ledger signed."""
    with errors_told():
        quiet()
        roots = [read_file(each, "trusted certificate") for each in trust or ()]
        line = read_file(key, "key of the ledger").decode("latin-1")
        try:
            with file.open("rb") as lines:
                report = verify_export(lines, line, roots)
        except OSError as error:
            raise Unusable(f"The export {file} cannot be read: {error.strerror}") from error
        typer.echo(msgspec.json.encode(report).decode() if as_json_text else export_text(report))
        exit_by(report.verdict)
