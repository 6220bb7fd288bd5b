"""The command `intaglio`."""

import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from intaglio.cli import (
    account,
    accreditation,
    approvals,
    backup,
    ceremony,
    certificate,
    clock,
    credential,
    evidence,
    hsm,
    identity,
    ledger,
    mechanism,
    policy,
    pool,
    profile,
    sandbox,
    staff,
)
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, note, say
from intaglio.errors import ContentRefused
from intaglio.keys.seclusion import seclude
from intaglio.pki.founding import SIZES
from intaglio.service.home import certificate_path
from intaglio.service.initialisation import Beginning, initialise
from intaglio.settings import HsmSettings

app = typer.Typer(
    help="A digital signing service that an organisation runs itself.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(account.app, name="account")
app.add_typer(credential.app, name="credential")
app.add_typer(policy.app, name="policy")
app.add_typer(profile.app, name="profile")
app.add_typer(accreditation.app, name="accreditation")
app.add_typer(mechanism.app, name="mechanism")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(evidence.app, name="evidence")
app.add_typer(certificate.app, name="certificate")
app.add_typer(identity.app, name="identity")
app.add_typer(pool.app, name="pool")
app.add_typer(clock.app, name="clock")
app.add_typer(ceremony.app, name="ceremony")
app.add_typer(ledger.app, name="ledger")
app.add_typer(hsm.app, name="hsm")
app.add_typer(staff.app, name="staff")
app.add_typer(approvals.app, name="approvals")
app.command()(backup.backup)
app.command()(backup.restore)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"intaglio {version('intaglio')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run a digital signing service: certificates, signatures, time-stamps."""
    seclude()


@app.command()
@command
def init(
    home: HomeOption = DEFAULT_HOME,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address of the API; repeatable.", show_default="localhost and 127.0.0.1"),
    ] = None,
    api_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API (mutual TLS).")] = 8443,
    pki_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the public PKI (plain HTTP).")] = 8080,
    public_url: Annotated[
        str | None,
        typer.Option(
            help="URL of the public PKI as certificates state it.", show_default="http://<first host>:<pki-port>"
        ),
    ] = None,
    bind: Annotated[
        str | None,
        typer.Option(help="Address to listen on.", show_default="127.0.0.1, or 0.0.0.0 if a host is not local"),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the operator, as it stands in the CAs' names.")] = "Intaglio",
    country: Annotated[
        str | None,
        typer.Option(
            help="The operator's country (ISO 3166-1 alpha-2) in the CAs' names; ETSI profiles need it.",
            show_default="none",
        ),
    ] = None,
    policy_arc: Annotated[
        str, typer.Option(help="Your arc for certificate policy OIDs; the default is the arc for examples.")
    ] = "1.3.6.1.4.1.32473",
    algorithm: Annotated[
        str,
        typer.Option(help=f"Keys of the service: {', '.join(SIZES)}; rsa is 4096 bits for roots, 2048 for the rest."),
    ] = "rsa",
    issuing_algorithm: Annotated[
        str | None, typer.Option(help="Keys of the issuing CAs, if others.", show_default="--algorithm")
    ] = None,
    tsa_algorithm: Annotated[
        str | None, typer.Option(help="Keys of the time-stamping authorities, if others.", show_default="--algorithm")
    ] = None,
    offline_root: Annotated[
        bool, typer.Option("--offline-root", help="Make nothing of production: its root's key will be elsewhere.")
    ] = False,
    master_key: Annotated[
        str,
        typer.Option(help="Where the master key is: file:PATH (made, 0600); env: or credential:NAME (is there)."),
    ] = "file:master.key",
    database: Annotated[
        str | None,
        typer.Option(
            help="PostgreSQL in place of a file: postgresql://USER@HOST/NAME, or where the URL is, if it has a "
            "password: env:NAME, credential:NAME or file:/ABSOLUTE/PATH (0600).",
            show_default="SQLite in the home",
        ),
    ] = None,
    hsm_module: Annotated[
        str | None, typer.Option(help="PKCS#11 module of an HSM: keys are made and kept there.", show_default="none")
    ] = None,
    hsm_token: Annotated[str | None, typer.Option(help="Label of the token in the HSM.", show_default="none")] = None,
    hsm_serial: Annotated[
        str | None, typer.Option(help="Serial number of the token, where labels are not unique.", show_default="none")
    ] = None,
    hsm_pin: Annotated[
        str, typer.Option(help="Where the token's PIN is: file:/ABSOLUTE/PATH (0600), env:NAME or credential:NAME.")
    ] = "env:INTAGLIO_HSM_PIN",
    hsm_identities: Annotated[
        Literal["wrapped", "resident"],
        typer.Option(help="How the token holds identities' keys: wrapped by one of its own, or each an object."),
    ] = "wrapped",
    as_json: JsonOption = False,
) -> None:
    """Make the home folder: keys, certification authorities, database, settings. Never overwrites."""
    made = 0

    def progress(member: str) -> None:
        nonlocal made
        made += 1
        if not as_json:
            note(f"[{made:2}/{len(beginning.roster.members)}] {member}")

    beginning = Beginning(
        name=name,
        hosts=tuple(host or ("localhost", "127.0.0.1")),
        api_port=api_port,
        public_port=pki_port,
        public_url=public_url,
        bind=bind,
        policy_arc=policy_arc,
        country=country,
        algorithm=algorithm,
        issuing_algorithm=issuing_algorithm,
        tsa_algorithm=tsa_algorithm,
        offline_root=offline_root,
        master_key=master_key,
        database=database,
        hsm=_hsm(hsm_module, hsm_token, hsm_serial, hsm_pin, hsm_identities),
    )
    opened = initialise(home, beginning, datetime.now(UTC), progress)
    opened.close()
    found = {
        "home": str(home),
        "settings": str(home / "intaglio.toml"),
        "root": None if offline_root else str(certificate_path(home, "root")),
        "test_root": str(certificate_path(home, "test-root")),
        "server_ca": str(certificate_path(home, "server")),
    }
    text = (
        f"Made {home}: {'the test hierarchy' if offline_root else 'two hierarchies (production, test)'}, "
        "sealed keys, database.\n"
        f"Roots: {found['root'] or 'none of production yet (docs/operate/authorities.md)'}, {found['test_root']}\n"
        f"Trust anchor for API clients: {found['server_ca']}\n"
        "Keep the master key apart from backups of the rest: without it nothing opens, with it everything does."
    )
    say(found, text, as_json=as_json, then=f"intaglio serve --home {home}")


def _hsm(
    module: str | None, label: str | None, serial: str | None, pin: str, identities: Literal["wrapped", "resident"]
) -> HsmSettings | None:
    if module is None:
        if label is None and serial is None:
            return None
        raise ContentRefused("A token needs the module that leads to it.", {"hsm-module": "is needed"})
    if label is None and serial is None:
        raise ContentRefused("The token is not said.", {"hsm-token": "this or --hsm-serial is needed"})
    return HsmSettings(module=module, pin=pin, token_label=label, token_serial=serial, identities=identities)


@app.command(name="serve")
@command
def serve_command(
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="How many processes serve: as many as there are cores, at most.")
    ] = 1,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Serve the API (mutual TLS) and the public PKI until SIGTERM."""
    # Doors and listeners take longer to load than any other command takes to run.
    from intaglio.cli.serving import serve  # noqa: PLC0415

    serve(home, processes=workers, as_json=as_json)


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def probe(context: typer.Context) -> None:
    """Try the service from outside, as a signer does; the same as `intaglio-client probe`."""
    # The client knows nothing of this package, nor this package of the client: the probe is a program of its own.
    program = Path(sys.executable).with_name("intaglio-client")
    if not program.exists():
        note("Error: the client is not installed here: pip install 'intaglio[client]'")
        raise typer.Exit(1)
    os.execv(program, [program.name, "probe", *context.args])  # noqa: S606 - no shell, and no one else's program
