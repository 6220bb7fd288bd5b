"""`intaglio certificate`: see the hierarchy, revoke what was issued here, renew what the service itself uses."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.accounts import onboarding
from intaglio.cli.acting import AsOption, AsSecretOption, key_of, told
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say, table
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, Malformed
from intaglio.pki.hierarchy import KeyPlace
from intaglio.revocation.register import REASONS, Standing, find
from intaglio.service.acting import alone
from intaglio.service.acts import OF_AUTHORITIES, ImportList, RenewMember, RevokeCertificate, pem
from intaglio.service.home import open_home
from intaglio.service.inventory import inventory
from intaglio.service.oversight import submit
from intaglio.service.renewal import renew as renew_certificate
from intaglio.service.renewal import request_renewal
from intaglio.staff.register import ISSUER

app = typer.Typer(help="Certificates: see and renew the service's own, revoke any.", no_args_is_help=True)


_COLUMNS = [
    "name", "issuer", "algorithm", "state", "serves", "key", "not_before", "not_after", "days_left", "crl_number",
    "crl_next_update", "serial", "subject",
]  # fmt: skip


@app.command(name="list")
@command
def list_members(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show the authorities of the service: who serves, whose key is where, which certificates and CRLs end when."""
    found = inventory(open_home(home), datetime.now(UTC))
    rows = [{name: _shown(value) for name, value in msgspec.structs.asdict(one).items()} for one in found.members]
    text = table(rows, _COLUMNS)
    if found.notices:
        text += "\n\n" + "\n".join(f"Notice: {notice}." for notice in found.notices)
    say(found, text, as_json=as_json)


def _shown(value: object) -> object:
    return f"{value:%Y-%m-%d}" if isinstance(value, datetime) else value


@app.command(name="import-crl")
@command
def import_crl(
    name: Annotated[str, typer.Argument(help="The CA, one whose key is elsewhere.")],
    file: Annotated[Path, typer.Argument(help="Its certificate revocation list, DER or PEM.")],
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Publish a revocation list that was signed where the CA's key is; OCSP says what it says.

    This waits for a second person.
    """
    try:
        content = file.read_bytes()
        der = x509.load_pem_x509_crl(content).public_bytes(Encoding.DER) if b"-----BEGIN" in content else content
    except OSError as error:
        raise Malformed(f"{file} cannot be read.", {"file": str(error.strerror)}) from error
    except ValueError as error:
        raise Malformed(f"{file} is not a certificate revocation list.", {"file": str(error)}) from error
    asked = ImportList(name, der)
    outcome = submit(open_home(home), key_of(acting, secret), "authority.import-crl", asked, datetime.now(UTC))
    told(outcome, outcome.result, "", as_json=as_json)


@app.command()
@command
def renew(
    name: Annotated[str, typer.Argument(help="An end certificate of the service: tls, tsa, issuing-ocsp, …")],
    request: Annotated[
        Path | None, typer.Option(help="Write a request instead: for a root whose key is elsewhere to sign.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="Take in what was signed for the request (PEM).")] = None,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Issue a new certificate for one of the service's own keys; `tls` takes the hosts of intaglio.toml.

    For any but `tls` and what is for tests this waits for a second person.
    """
    if request is not None and certificate is not None:
        raise Malformed("One after the other.", {"certificate": "not together with --request"})
    opened, now = open_home(home), datetime.now(UTC)
    if request is not None:
        if request.exists():
            raise Conflict(f"{request} exists: it is not written over.", {"request": "exists"})
        request.write_bytes(request_renewal(opened, name, now).public_bytes(Encoding.PEM))
        say({"name": name, "request": str(request)}, f"Wrote {request}: have the root sign it.", as_json=as_json)
        return
    key = key_of(acting, secret)
    then = "restart the service: it reads its certificates when it starts"
    if name == "tls" and certificate is None:
        renewed = renew_certificate(alone(opened, key, "tls.renew", {"name": name}, now), name, now)
        found = {"name": name, "not_after": renewed.not_valid_after_utc}
    else:
        signed = None if certificate is None else pem(_read_certificate(certificate))
        outcome = submit(opened, key, "authority.renew", RenewMember(name, signed), now)
        if not outcome.done:
            told(outcome, None, "", as_json=as_json)
            return
        found = outcome.result
    text = f"{name} has a new certificate, until {found['not_after']}. The older one stays valid."
    say(found, text, as_json=as_json, then=then)


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise Malformed(f"{path} cannot be read.", {"certificate": str(error.strerror)}) from error
    except ValueError as error:
        raise Malformed(f"{path} is not a certificate in PEM.", {"certificate": str(error)}) from error


@app.command()
@command
def revoke(
    serial: Annotated[str, typer.Argument(help="The serial number in hex.")],
    issuer: Annotated[str, typer.Option(help="The CA that issued it: one of `certificate list`.")] = "issuing",
    reason: Annotated[str, typer.Option(help=f"One of {', '.join(REASONS)}.")] = "unspecified",
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Revoke a certificate for good; OCSP says so within a second, the next CRL too.

    One person can revoke what was issued to others; that of an authority waits for a second one.
    """
    try:
        number = f"{int(serial.replace(':', ''), 16):x}"
    except ValueError as error:
        raise Malformed("The serial number is not hex.", {"serial": "must be hex"}) from error
    opened = open_home(home)
    now = datetime.now(UTC)
    known = {member.name: member for member in opened.roster().authorities}
    if issuer not in known:
        raise Malformed("The issuer is unknown.", {"issuer": f"one of {', '.join(known)}"})
    key = key_of(acting, secret)
    if issuer == ISSUER:
        raise Conflict("People are taken out by two others.", {"issuer": "intaglio staff remove PERSON"})
    with reading(opened.engine) as connection:
        held = find(connection, issuer, number)
    if held is not None and held.profile in OF_AUTHORITIES:
        outcome = submit(opened, key, "authority.revoke", RevokeCertificate(issuer, number, reason), now)
        if not outcome.done:
            told(outcome, None, "", as_json=as_json)
            return
        standing = msgspec.convert(outcome.result, Standing)
    else:
        about = {"issuer": issuer, "serial": number, "reason": reason}
        acting_home = alone(opened, key, "certificate.revoke", about, now, guarded=not known[issuer].test)
        with transaction(opened.engine) as connection:
            standing = onboarding.revoke_certificate(connection, acting_home.chain, issuer, number, reason, now)
    text = f"Revoked {standing.subject or 'an archived certificate'} ({issuer}/{standing.serial}): {reason}."
    if known[issuer].key != KeyPlace.HERE:
        text += f"\nOCSP says so. Its list is signed where the key of {issuer} is: revoke it there and import the list."
    say(standing, text, as_json=as_json, then=f"openssl crl -inform DER -text < {issuer}.crl")
