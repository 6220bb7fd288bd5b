"""`intaglio credential`: API keys and client certificates."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from intaglio.accounts import credentials, onboarding
from intaglio.accounts.onboarding import Issued
from intaglio.cli.acting import AsOption, AsSecretOption, key_of
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, say
from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, Malformed
from intaglio.keys.algorithm import PublicKey, public_key_der
from intaglio.revocation.register import REASONS
from intaglio.service.acting import Opens, for_account
from intaglio.service.home import Home, open_home

app = typer.Typer(help="Credentials: what an account proves itself with.", no_args_is_help=True)

CsrOption = Annotated[Path | None, typer.Option(help="A certificate signing request in PEM.")]
PublicKeyOption = Annotated[
    Path | None, typer.Option(help="A public key in PEM (openssl rsa -pubout); the credentials come encrypted to it.")
]
OutOption = Annotated[Path, typer.Option(help="The folder for what is made; made if missing.")]


def _key(csr: Path | None, public_key: Path | None) -> PublicKey:
    if (csr is None) == (public_key is None):
        raise Malformed("Give either --csr or --public-key.", {"csr": "exactly one of --csr and --public-key"})
    path = csr or public_key
    try:
        pem = path.read_bytes() if path is not None else b""
    except OSError as error:
        field = "csr" if csr else "public_key"
        raise Malformed(f"{path} cannot be read.", {field: str(error.strerror)}) from error
    return onboarding.read_csr(pem) if csr else onboarding.read_public_key(pem)


@contextmanager
def _reserved(out: Path, names: Sequence[str]) -> Iterator[dict[str, BinaryIO]]:
    """Yield files to write to, made before anything else is: a secret that cannot be written is lost.

    Never over another file; what was made here is removed when the block fails.
    """
    made = not out.exists()
    files: dict[str, BinaryIO] = {}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in names:
            mode = 0o600 if name.startswith("credentials") else 0o644
            files[name] = os.fdopen(os.open(out / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")
        yield files
    except BaseException as error:
        for name, file in files.items():
            file.close()
            (out / name).unlink()
        if made and out.is_dir():
            out.rmdir()
        if isinstance(error, OSError):
            message = f"{error.filename or out}: {error.strerror}. Nothing was made."
            raise Conflict(message, {"out": str(error.strerror)}) from error
        raise
    finally:
        for file in files.values():
            file.close()


def _deliver(home: Home, files: dict[str, BinaryIO], issued: Issued) -> None:
    ca = home.certificate("client")
    files["client.crt"].write(credentials.pem_chain(issued.certificate, ca))
    files["ca.crt"].write(credentials.pem_chain(ca))


def _for_credential(home: Path, key: Opens | None, act: str, credential_id: str, now: datetime, **about: str) -> Home:
    opened = open_home(home)
    with reading(opened.engine) as connection:
        credential = credentials.find(connection, credential_id)
    return for_account(opened, key, act, credential.account_id, now, {"credential": credential_id, **about})


@app.command()
@command
def create(
    account: Annotated[str, typer.Option(help="The account's id.")],
    out: OutOption,
    csr: CsrOption = None,
    public_key: PublicKeyOption = None,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Make an API credential and a client certificate.

    By CSR: client.crt, ca.crt, credentials.json. By public key: client.crt, ca.crt, credentials.enc, which
    `openssl pkeyutl -decrypt` opens with RSA-OAEP and SHA-256.
    """
    key = _key(csr, public_key)
    if public_key is not None:
        credentials.check_encryption(key)
    name = "credentials.json" if csr else "credentials.enc"
    now = datetime.now(UTC)
    about = {"public_key": hashlib.sha256(public_key_der(key)).hexdigest()}
    opened = for_account(open_home(home), key_of(acting, secret), "credential.create", account, now, about)
    with _reserved(out, ["client.crt", "ca.crt", name]) as written:
        issued = onboarding.create_credential(
            opened.engine,
            opened.chain,
            opened.issuer("client"),
            account_id=account,
            key=key,
            now=now,
        )
        if issued.secret is not None:
            plain = msgspec.json.encode(issued.secret) + b"\n"
            written[name].write(plain if csr else credentials.encrypt(issued.secret, key))
        _deliver(opened, written, issued)
    files = [str(out / file) for file in ("client.crt", "ca.crt", name)]
    found = {
        "credential_id": issued.credential.id,
        "account_id": account,
        "api_key": issued.credential.api_key,
        "not_after": issued.certificate.not_valid_after_utc,
        "files": files,
    }
    text = f"credential_id: {issued.credential.id}\nWrote {', '.join(files)}; the secret is not kept here."
    say(found, text, as_json=as_json, then="see docs/integrate/first-signature.md")


@app.command()
@command
def renew(
    credential: Annotated[str, typer.Argument(metavar="CREDENTIAL", help="The credential's id.")],
    out: OutOption,
    csr: CsrOption = None,
    public_key: PublicKeyOption = None,
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Issue a further client certificate for a credential; key, secret and older certificates stay as they are."""
    key = _key(csr, public_key)
    now = datetime.now(UTC)
    opened = _for_credential(
        home,
        key_of(acting, secret),
        "credential.renew",
        credential,
        now,
        public_key=hashlib.sha256(public_key_der(key)).hexdigest(),
    )
    with _reserved(out, ["client.crt", "ca.crt"]) as written:
        issued = onboarding.renew_certificate(
            opened.engine,
            opened.chain,
            opened.issuer("client"),
            credential_id=credential,
            key=key,
            now=now,
        )
        _deliver(opened, written, issued)
    found = {"credential_id": credential, "not_after": issued.certificate.not_valid_after_utc}
    say(found, f"Wrote {out / 'client.crt'}, valid until {found['not_after']}.", as_json=as_json)


@app.command()
@command
def revoke(
    credential: Annotated[str, typer.Argument(metavar="CREDENTIAL", help="The credential's id.")],
    reason: Annotated[str, typer.Option(help=f"One of {', '.join(REASONS)}.")] = "unspecified",
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Revoke a credential, its tokens and its client certificates; in force within a second."""
    now = datetime.now(UTC)
    opened = _for_credential(home, key_of(acting, secret), "credential.revoke", credential, now, reason=reason)
    with transaction(opened.engine) as connection:
        revoked = onboarding.revoke_credential(connection, opened.chain, "client", credential, reason, now)
    found = {"credential_id": revoked.id, "account_id": revoked.account_id, "state": revoked.state}
    say(found, f"The credential {revoked.id} is revoked.", as_json=as_json)
