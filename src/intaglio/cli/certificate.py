"""`intaglio certificate`: revoke what was issued here, renew what the service itself uses."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from intaglio.accounts import onboarding
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say
from intaglio.database.engine import transaction
from intaglio.errors import Malformed
from intaglio.pki.hierarchy import AUTHORITIES
from intaglio.revocation.register import REASONS
from intaglio.service.home import open_home
from intaglio.service.renewal import RENEWABLE
from intaglio.service.renewal import renew as renew_certificate

app = typer.Typer(help="Certificates: revoke any, renew the service's own.", no_args_is_help=True)


@app.command()
@command
def renew(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(RENEWABLE)}.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Issue a new certificate for one of the service's own keys; `tls` takes the hosts of intaglio.toml."""
    certificate = renew_certificate(open_home(home), name, datetime.now(UTC))
    found = {"name": name, "not_after": certificate.not_valid_after_utc}
    text = f"{name} has a new certificate, until {certificate.not_valid_after_utc}. The older one stays valid."
    say(found, text, as_json=as_json, then="restart the service: it reads its certificates when it starts")


@app.command()
@command
def revoke(
    serial: Annotated[str, typer.Argument(help="The serial number in hex.")],
    issuer: Annotated[str, typer.Option(help=f"One of {', '.join(AUTHORITIES)}.")] = "issuing",
    reason: Annotated[str, typer.Option(help=f"One of {', '.join(REASONS)}.")] = "unspecified",
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Revoke a certificate for good; OCSP says so within a second, the next CRL too."""
    if issuer not in AUTHORITIES:
        raise Malformed("The issuer is unknown.", {"issuer": f"one of {', '.join(AUTHORITIES)}"})
    try:
        number = f"{int(serial.replace(':', ''), 16):x}"
    except ValueError as error:
        raise Malformed("The serial number is not hex.", {"serial": "must be hex"}) from error
    opened = open_home(home)
    now = datetime.now(UTC)
    with transaction(opened.engine) as connection:
        standing = onboarding.revoke_certificate(connection, opened.chain, issuer, number, reason, now)
    text = f"Revoked {standing.subject} ({issuer}/{standing.serial}): {reason}."
    say(standing, text, as_json=as_json, then=f"openssl crl -inform DER -text < {issuer}.crl")
