"""`intaglio staff`: the people who run the service, and the keys they are known by."""

from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import msgspec
import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from intaglio.accounts.credentials import pem_chain
from intaglio.cli.acting import AsOption, AsSecretOption, key_of, told
from intaglio.cli.secret import new_passphrase, resolved
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, note, say, table
from intaglio.database.engine import reading
from intaglio.errors import Conflict, ContentRefused, Malformed
from intaglio.pki import text
from intaglio.revocation import register as certificates
from intaglio.revocation.register import serial_text
from intaglio.service import acting as acting_as
from intaglio.service import oversight, staffing
from intaglio.service.home import Home, open_home
from intaglio.staff import key_file, register
from intaglio.staff.register import ISSUER, Person
from intaglio.staff.rights import Role
from intaglio.staff.signature import fingerprint

app = typer.Typer(help="Staff: who runs the service, in which roles, known by which keys.", no_args_is_help=True)

PersonArgument = Annotated[str, typer.Argument(metavar="PERSON", help="The person's id or name.")]


@app.command()
@command
def key(
    name: Annotated[str, typer.Argument(help="Your name, as it is to stand in your certificate.")],
    out: Annotated[Path, typer.Option(help="The key file to make, which you keep; the request is beside it, .csr.")],
    algorithm: Annotated[str, typer.Option(help=f"One of {', '.join(key_file.ALGORITHMS)}.")] = "p-256",
    secret: Annotated[
        str | None, typer.Option(help="Where the passphrase is, file:PATH or env:NAME.", show_default="asked for")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make your key file, and the request by which you are taken in; needs no home."""
    fault = text.fault_of_text(name, 64)
    if fault is not None:
        raise ContentRefused("The name cannot be used.", {"name": fault})
    csr = out.with_suffix(".csr")
    if csr.exists() or out == csr:
        raise Conflict(f"{csr} exists: it is not written over.", {"out": "another name is needed"})
    made, pem = key_file.make(algorithm, resolved(secret) if secret is not None else new_passphrase())
    key_file.write(out, pem)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    digest = None if isinstance(made, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(made, digest)
    csr.write_bytes(request.public_bytes(Encoding.PEM))
    found = {"key": str(out), "csr": str(csr), "key_sha256": fingerprint(made.public_key())}
    words = f"Wrote {out} (keep it) and {csr} (hand it on).\nSHA-256 of your public key: {found['key_sha256']}"
    say(
        found,
        words,
        as_json=as_json,
        then=f"hand {csr} to who runs the service: intaglio staff enrol {quote(name)} --csr {quote(str(csr))} --role …",
    )


@app.command(name="found")
@command
def found_staff(
    person: Annotated[
        list[str], typer.Option(metavar="NAME=CSR", help="A security officer and the request; at least two.")
    ],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Take in the first security officers: from then on, everything of production needs people of the staff."""
    founders = []
    for one in person:
        name, separator, path = one.rpartition("=")
        if not separator or not name:
            raise Malformed("--person cannot be used.", {"person": "must be NAME=CSR"})
        founders.append((name, _text(Path(path), "csr")))
    opened = open_home(home)
    people = staffing.found(opened, founders, datetime.now(UTC))
    rows = [_row(opened, one) for one in people]
    words = (
        f"{table(rows, ['name', 'roles', 'key_sha256'])}\n"
        "Have each of them compare the SHA-256 of their key, and keep this list where auditors find it."
    )
    say(rows, words, as_json=as_json, then="intaglio staff enrol --help")


@app.command()
@command
def enrol(
    name: Annotated[str, typer.Argument(help="The person's name.")],
    csr: Annotated[Path, typer.Option(help="The person's request, as `staff key` writes it.")],
    role: Annotated[list[Role], typer.Option(help="What the person is there for; repeatable.")],
    account: Annotated[str | None, typer.Option(help="The account, for an administrator or developer.")] = None,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Ask for somebody to be taken in; a security officer decides."""
    asked = staffing.Enrolment(name, tuple(role), _text(csr, "csr"), account)
    outcome = oversight.submit(open_home(home), key_of(acting, secret), "staff.enrol", asked, datetime.now(UTC))
    told(outcome, outcome.result, "", as_json=as_json)


@app.command()
@command
def remove(
    person: PersonArgument,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Ask for somebody to be taken out, with every certificate; a security officer decides."""
    opened = open_home(home)
    with reading(opened.engine) as connection:
        found = register.named(connection, person)
    asked = staffing.Removal(found.id)
    outcome = oversight.submit(opened, key_of(acting, secret), "staff.remove", asked, datetime.now(UTC))
    told(outcome, outcome.result, "", as_json=as_json)


@app.command()
@command
def renew(
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Get your next certificate, for the same key, while the one you have is valid."""
    opened, now = open_home(home), datetime.now(UTC)
    opens = key_of(acting, secret)
    known, used = acting_as.known(opened, opens, now)
    home_of = acting_as.alone(
        opened, lambda: used, "staff.renew", {"person": known.person.id}, now, account_id=known.person.account_id
    )
    renewed = staffing.renew(home_of, known.person, used.public_key(), now)
    found = {"person": known.person.id, "not_after": renewed.not_valid_after_utc}
    say(found, f"Your certificate is valid until {renewed.not_valid_after_utc}.", as_json=as_json)


@app.command(name="list")
@command
def list_staff(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List everybody who is or was there."""
    opened = open_home(home)
    with reading(opened.engine) as connection:
        people = register.every(connection)
    rows = [_row(opened, one) for one in people]
    columns = ["name", "roles", "account_id", "state", "certificate_state", "not_after", "person"]
    words = table(rows, columns) if rows else "There is no staff: nothing of production can be created yet."
    say(rows, words, as_json=as_json, then=None if rows else "intaglio staff found --help")


@app.command()
@command
def show(
    person: PersonArgument,
    out: Annotated[Path | None, typer.Option(help="Write the newest certificate and its CA there, PEM.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show a person, and write the certificate."""
    opened = open_home(home)
    with reading(opened.engine) as connection:
        found = register.named(connection, person)
        newest = register.certificates_of(connection, found.id)[-1]
    row = _row(opened, found)
    if out is not None:
        if out.exists():
            raise Conflict(f"{out} exists: it is not written over.", {"out": "exists"})
        out.write_bytes(pem_chain(newest, opened.certificate(ISSUER)))
        note(f"Wrote {out}.")
    say(row, "\n".join(f"{name}: {value}" for name, value in row.items()), as_json=as_json)


def _row(home: Home, person: Person) -> dict[str, Any]:
    with reading(home.engine) as connection:
        newest = register.certificates_of(connection, person.id)[-1]
        serial = serial_text(newest.serial_number)
        standing = certificates.find(connection, ISSUER, serial)
    return {
        "person": person.id,
        "name": person.name,
        "roles": ", ".join(person.roles),
        "account_id": person.account_id,
        "state": msgspec.to_builtins(person.state),
        "certificate": serial,
        "certificate_state": None if standing is None else str(standing.state),
        "not_after": f"{newest.not_valid_after_utc:%Y-%m-%d}",
        "key_sha256": fingerprint(newest.public_key()),  # type: ignore[arg-type]
    }


def _text(path: Path, field: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"{path} cannot be read.", {field: "must be a file of text"}) from error
