"""The command line: sign PDFs, verify them, look at an account."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from intaglio_client import receipt_command
from intaglio_client.batch import Job, jobs_for, sign_all
from intaglio_client.client import AsyncClient, Client
from intaglio_client.errors import ClientError, Unusable
from intaglio_client.pdf import Level, Signing
from intaglio_client.probe import as_json as probed_as_json
from intaglio_client.probe import as_text as probed_as_text
from intaglio_client.probe import probe as probed
from intaglio_client.profile import Profile, connection, read_file, read_json, read_profile
from intaglio_client.report import as_json, as_text
from intaglio_client.stamp import Stamp
from intaglio_client.terminal import (
    EXIT_CODES,
    AsJson,
    BaseUrl,
    ClientCert,
    ClientKey,
    CredentialsFile,
    ProfileFile,
    ServerCa,
    errors_told,
    exit_by,
    exit_code,
    quiet,
    tell,
)
from intaglio_client.verification import verify_pdf

app = typer.Typer(
    name="intaglio-client",
    help="Sign PDFs with the signing service; the documents stay here, only digests are sent.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

IDENTITY: Final = "Identity"


@app.command(epilog=EXIT_CODES)
def sign(
    files: Annotated[list[Path], typer.Argument(help="IN.pdf OUT.pdf, or any number of files with --out-dir.")],
    *,
    out_dir: Annotated[Path | None, typer.Option(help="Folder for the signed files, under their own names.")] = None,
    level: Annotated[Level, typer.Option(help="PAdES baseline level.", case_sensitive=False)] = Level.B_LTA,
    stamp: Annotated[bool, typer.Option("--stamp/--no-stamp", help="Show the signature on the page.")] = False,
    page: Annotated[int, typer.Option(help="Page of the stamp; 1 is the first, -1 the last.")] = -1,
    box: Annotated[str, typer.Option(help="Place of the stamp: left,bottom,right,top in points.")] = "56,56,256,116",
    field: Annotated[str | None, typer.Option(help="Signature field to fill, or to make.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why it is signed; stands in the signature.")] = None,
    location: Annotated[str | None, typer.Option(help="Where it is signed; stands in the signature.")] = None,
    cn: Annotated[str | None, typer.Option("--cn", help="Common name.", rich_help_panel=IDENTITY)] = None,
    organization: Annotated[str | None, typer.Option(help="Organization.", rich_help_panel=IDENTITY)] = None,
    ou: Annotated[
        list[str] | None, typer.Option("--ou", help="Organizational unit; may be repeated.", rich_help_panel=IDENTITY)
    ] = None,
    country: Annotated[str | None, typer.Option(help="Country, two capital letters.", rich_help_panel=IDENTITY)] = None,
    email: Annotated[str | None, typer.Option(help="E-mail address.", rich_help_panel=IDENTITY)] = None,
    identity_json: Annotated[
        Path | None,
        typer.Option(help="JSON file of a whole identity request; options add to it.", rich_help_panel=IDENTITY),
    ] = None,
    other_root: Annotated[
        list[Path] | None,
        typer.Option(help="Root (PEM) of others who time-stamped the document before; may be repeated."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=32, help="Documents signed at a time.")] = 4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace output files that exist.")] = False,
    base_url: BaseUrl = None,
    credentials: CredentialsFile = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    server_ca: ServerCa = None,
    profile: ProfileFile = None,
) -> None:
    """Sign one PDF, or many with one identity.

    intaglio-client sign contract.pdf signed.pdf --cn "Jane Doe" --stamp
    """
    with errors_told():
        settings = _profile(profile, Profile(base_url, credentials, client_cert, client_key, None, server_ca))
        todo = jobs_for(files, out_dir, overwrite=overwrite)
        signing = Signing(
            level=level,
            field=field,
            reason=reason,
            location=location,
            other_roots=tuple(read_file(each, "root certificate").decode("latin-1") for each in other_root or ()),
            stamp=Stamp(page - 1 if page > 0 else page, _box(box)) if stamp else None,
        )
        subject = {"common_name": cn, "organization": organization, "organizational_unit": ou or None}
        request = _request(settings, identity_json, {**subject, "country": country, "email": email})
        failed = asyncio.run(_sign(settings, todo, request, signing, at_once=jobs))
        for job, error in failed:
            tell(error, f"{job.source}: ")
        if failed:
            raise typer.Exit(exit_code(failed[0][1]))


@app.command(epilog=EXIT_CODES)
def verify(
    file: Annotated[Path, typer.Argument(help="The signed PDF.")],
    trust: Annotated[list[Path], typer.Option(help="Trusted root certificate, PEM or DER; may be repeated.")],
    at: Annotated[datetime | None, typer.Option(help="Judge as of this moment, UTC, instead of now.")] = None,
    online: Annotated[
        bool, typer.Option("--online/--offline", help="Ask the authorities for status the file does not hold.")
    ] = False,
    as_json_text: AsJson = False,
) -> None:
    """Judge the signatures of a PDF: who, when, by which chain and evidence, and whether it was changed."""
    with errors_told():
        quiet()
        report = verify_pdf(
            read_file(file, "document"),
            [read_file(each, "trusted certificate") for each in trust],
            at=at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at,
            online=online,
        )
        typer.echo(as_json(report) if as_json_text else as_text(report))
        exit_by(report.verdict)


@app.command(epilog=EXIT_CODES)
def status(
    *,
    base_url: BaseUrl = None,
    credentials: CredentialsFile = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    server_ca: ServerCa = None,
    profile: ProfileFile = None,
    as_json_text: AsJson = False,
) -> None:
    """Show the account's quotas and counters, and until when the login holds."""
    with errors_told():
        settings = _profile(profile, Profile(base_url, credentials, client_cert, client_key, None, server_ca))
        url, options = connection(settings, os.environ)
        with Client(url, **options) as client:
            token = client.login()
            found: dict[str, Any] = {
                "base_url": url,
                "api_key": options["api_key"],
                "token_good_until": token.good_until,
                "quotas": {
                    "signatures": client.quota("signatures"),
                    "timestamps": client.quota("timestamps"),
                },
                "counters": {
                    "signatures": client.counter("signatures"),
                    "timestamps": client.counter("timestamps"),
                    "identities": client.counter("identities"),
                },
            }
        if as_json_text:
            typer.echo(msgspec.json.format(msgspec.json.encode(found)))
            return
        typer.echo(f"service      {url}\napi key      {options['api_key']}")
        typer.echo(f"logged in    until {token.good_until:%Y-%m-%d %H:%M:%S %Z}")
        for name, left in found["quotas"].items():
            typer.echo(f"{name:<12} {left} left, {found['counters'][name]} made")
        typer.echo(f"{'identities':<12} {found['counters']['identities']} made")


app.add_typer(receipt_command.app, name="receipt")
app.command("whoami", help="The same as status.", epilog=EXIT_CODES)(status)


@app.command(
    epilog="Exit codes: 0 all is well, 1 it could not be tried (a file, an address), 2 something is wrong or slow."
)
def probe(
    *,
    trust: Annotated[list[Path], typer.Option(help="Trusted root certificate, PEM or DER; may be repeated.")],
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 10.0,
    warn_ms: Annotated[
        float | None, typer.Option(min=0, help="A step that takes longer than so many milliseconds is slow.")
    ] = None,
    crl: Annotated[bool, typer.Option("--crl", help="Look at the revocation list, too.")] = False,
    base_url: BaseUrl = None,
    credentials: CredentialsFile = None,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    server_ca: ServerCa = None,
    profile: ProfileFile = None,
    as_json_text: AsJson = False,
) -> None:
    """Try everything that a signer needs, once: log in, identity, signature, chain, time-stamp, status.

    It spends one signature and one time-stamp: use a test account.
    """
    try:
        settings = _profile(profile, Profile(base_url, credentials, client_cert, client_key, None, server_ca))
        url, options = connection(settings, os.environ)
        options["timeout"] = timeout
        roots = [read_file(each, "trusted certificate") for each in trust]
        found = probed(url, options, roots, settings.identity, warn_milliseconds=warn_ms, with_crl=crl)
    except ClientError as error:
        tell(error, "")
        raise typer.Exit(1) from error
    typer.echo(probed_as_json(found) if as_json_text else probed_as_text(found))
    if not found.well:
        raise typer.Exit(2)


async def _sign(
    settings: Profile, todo: list[Job], request: dict[str, Any], signing: Signing, *, at_once: int
) -> list[tuple[Job, ClientError]]:
    url, options = connection(settings, os.environ)
    async with AsyncClient(url, **options) as client:
        return await sign_all(client, todo, request, signing, at_once=at_once)


def _profile(path: Path | None, given: Profile) -> Profile:
    return given.over(read_profile(path)) if path is not None else given


def _request(settings: Profile, path: Path | None, subject: dict[str, Any]) -> dict[str, Any]:
    request = read_json(path, "identity file", dict[str, Any]) if path is not None else dict(settings.identity)
    said = {key: value for key, value in subject.items() if value is not None}
    if said:
        request["subject_dn"] = {**request.get("subject_dn", {}), **said}
    return request


def _box(text: str) -> tuple[int, int, int, int]:
    try:
        left, bottom, right, top = (int(each) for each in text.split(","))
    except ValueError as unreadable:
        raise Unusable(f"--box takes four whole numbers, left,bottom,right,top, not {text!r}.") from unreadable
    if left >= right or bottom >= top:
        raise Unusable("--box must have left < right and bottom < top.")
    return left, bottom, right, top


if __name__ == "__main__":
    sys.exit(app())
