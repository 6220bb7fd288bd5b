"""`intaglio ceremony`: key ceremonies as files: an officer's key, a script, a run, a transcript verified."""

import hashlib
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from intaglio.ceremony import checklist, examples, filing, reading, rules
from intaglio.ceremony.conduct import Conduct
from intaglio.ceremony.officer import Officer, SecretOfficer, block
from intaglio.ceremony.transcript import MOST_OCTETS, Transcript
from intaglio.ceremony.verification import Verdict
from intaglio.ceremony.verification import verify as verify_transcript
from intaglio.cli.acting import AsOption, AsSecretOption, key_of, told
from intaglio.cli.secret import new_passphrase, resolved
from intaglio.cli.terminal import DEFAULT_HOME, HomeOption, JsonOption, command, note, say
from intaglio.clock import SystemClock
from intaglio.errors import Malformed
from intaglio.pki.text import visible
from intaglio.service.acts import HoldCeremony
from intaglio.service.home import open_home
from intaglio.service.oversight import submit
from intaglio.staff import key_file
from intaglio.staff.signature import fingerprint

_TIME = "%Y-%m-%d %H:%M:%S UTC"

app = typer.Typer(
    help="Key ceremonies: officers agree on a script, confirm each step of its run, and leave a transcript.",
    no_args_is_help=True,
)


@app.command()
@command
def officer(
    name: Annotated[str, typer.Argument(help="The officer's name in scripts: a-z, 0-9, hyphens.")],
    out: Annotated[Path, typer.Option(help="The key file to make, which the officer keeps.")],
    role: Annotated[str, typer.Option(help="The officer's role in scripts.")] = "Officer",
    algorithm: Annotated[str, typer.Option(help=f"One of {', '.join(key_file.ALGORITHMS)}.")] = "ed25519",
    secret: Annotated[
        str | None,
        typer.Option(help="Where the passphrase is, file:PATH or env:NAME, for rehearsals.", show_default="asked for"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an officer's key file; prints the officer's table for scripts.

    The key file is PKCS#8, encrypted under a passphrase that is asked for twice.
    """
    rules.check_name(name, role)
    passphrase = resolved(secret) if secret is not None else new_passphrase()
    key, pem = key_file.make(algorithm, passphrase)
    key_file.write(out, pem)
    public = key.public_key()
    table = block(name, role, public)
    note(f"Wrote {out}. SHA-256 of the public key, to compare with the script: {fingerprint(public)}")
    found = {"name": name, "key": str(out), "key_sha256": fingerprint(public), "table": table}
    say(found, table.rstrip(), as_json=as_json)


@app.command()
@command
def plan(
    script: Annotated[Path | None, typer.Argument(metavar="[SCRIPT]", help="The script to check, a TOML file.")] = None,
    example: Annotated[
        str | None, typer.Option(help=f"Print an example to begin from instead: {', '.join(examples.NAMES)}.")
    ] = None,
    officer: Annotated[
        list[Path] | None,
        typer.Option(help="With --example: a file with the table of an officer, as 'officer' prints it; repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a script and print it as a checklist for paper, with the SHA-256 that officers compare."""
    if (script is None) == (example is None):
        raise Malformed("Give either a script or --example.", {"script": "exactly one of SCRIPT and --example"})
    if script is not None:
        found = reading.load(script)
        say(checklist.as_json(found), checklist.as_text(found).rstrip(), as_json=as_json, then="intaglio ceremony run")
        return
    tables = [_text(path) for path in officer or ()]
    text = examples.example(example or "", tables)
    say({"script": text}, text.rstrip(), as_json=as_json)


@app.command()
@command
def allow(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="The script, a TOML file.")],
    acting: AsOption = None,
    secret: AsSecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Ask for a ceremony by this script to be allowed at a home with staff; a security officer decides."""
    found = reading.load(script)
    asked = HoldCeremony(found.sha256, found.title)
    outcome = submit(open_home(home), key_of(acting, secret), "authority.ceremony", asked, datetime.now(UTC))
    told(outcome, outcome.result, "", as_json=as_json)


@app.command()
@command
def run(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="The script, a TOML file.")],
    transcript: Annotated[Path, typer.Option(help="The transcript to write, or to go on with.")],
    files: Annotated[
        Path | None,
        typer.Option(help="The folder that paths in the script are relative to.", show_default="the script's folder"),
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="Where an officer's key file is; repeatable.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=REFERENCE",
            help="Where an officer's passphrase or PIN is, file:PATH or env:NAME, for rehearsals; repeatable.",
        ),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Run a ceremony: each step once a quorum of officers has confirmed it, each recorded before the next.

    Interrupted, it goes on from its transcript when it is run again; no key is made twice.
    """
    found = reading.load(script)
    desk = Terminal(_pairs("key", key), _pairs("secret", secret))
    desk.check(found.officers)
    opened = Transcript.resume(transcript) if transcript.exists() else Transcript.begin(transcript)
    with opened:
        try:
            Conduct(found, opened, home, files or script.absolute().parent, desk, SystemClock()).run()
        finally:
            opened.discard_if_empty()
    verdict = verify_transcript(_bytes(transcript), script_sha256=found.sha256)
    say(verdict, _judged(verdict), as_json=as_json, then=f"intaglio ceremony verify {transcript} --script {script}")


@app.command()
@command
def verify(
    transcript: Annotated[Path, typer.Argument(metavar="TRANSCRIPT", help="The transcript, a JSONL file.")],
    script: Annotated[Path | None, typer.Option(help="The script that the officers agreed on.")] = None,
    sha256: Annotated[str | None, typer.Option(help="Or its SHA-256 in hex.")] = None,
    outputs: Annotated[
        Path | None, typer.Option(help="The folder with the files that were written, to compare them too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a transcript; needs no home and no secrets. Names the first entry that does not hold, and why.

    Exit code 0: it holds, to its end. 1: it does not.
    """
    if script is not None and sha256 is not None:
        raise Malformed("Give --script or --sha256.", {"sha256": "not together with --script"})
    expected = None if sha256 is None else sha256.replace(" ", "").lower()
    if expected is not None and re.match(r"\A[0-9a-f]{64}\Z", expected) is None:
        raise Malformed("This is not a SHA-256.", {"sha256": "must be 64 hex digits"})
    if script is not None:
        expected = hashlib.sha256(_bytes(script)).hexdigest()
    verdict = verify_transcript(_bytes(transcript), script_sha256=expected, outputs=outputs)
    say(verdict, _judged(verdict), as_json=as_json)


class Terminal:
    """The officers' desk at a terminal: secrets are asked for without echo, or read from where `--secret` says."""

    def __init__(self, keys: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        self._keys = dict(keys)
        self._secrets = dict(secrets)

    def check(self, officers: tuple[Officer, ...]) -> None:
        """Raise `Malformed` for options that name no officer of the script."""
        names = {one.name for one in officers}
        unknown = dict.fromkeys({*self._keys, *self._secrets} - names, "not in the script")
        if unknown:
            raise Malformed("The options name officers whom the script does not.", unknown)

    def tell(self, text: str) -> None:
        """Say what happens, where it does not mix with what a script reads."""
        note(text)

    def secret(self, officer: Officer, covers: str) -> str | None:
        """Return the officer's secret; None without an answer, or without anyone to ask."""
        reference = self._secrets.get(officer.name)
        if reference is not None:
            return resolved(reference)
        if not sys.stdin.isatty():
            return None
        what = "passphrase" if isinstance(officer, SecretOfficer) else "PIN"
        prompt = f"  {officer.name} ({officer.role}), {what} to confirm {covers} [Enter: not here]: "
        return getpass(prompt) or None

    def key_file(self, officer: SecretOfficer) -> Path:
        """Return where the officer's key file is, asking once."""
        if officer.name not in self._keys:
            if not sys.stdin.isatty():
                raise Malformed(f"Where is the key file of {officer.name}?", {"key": f"--key {officer.name}=PATH"})
            note(f"  {officer.name}, path of the key file: ")
            self._keys[officer.name] = input().strip()
        return Path(self._keys[officer.name])

    def again(self, officer: Officer) -> bool:
        """Return whether asking again may give another answer: a file or variable would say the same."""
        return officer.name not in self._secrets and sys.stdin.isatty()


def _judged(verdict: Verdict) -> str:
    """Return a verdict for people, with what it does not answer."""
    lines = [
        f"The transcript holds: {verdict.title!r}, {verdict.entries} entries.",
        f"time    {verdict.begun:{_TIME}} to {verdict.ended:{_TIME}}",
        f"script  {checklist.grouped(verdict.script)}",
        f"head    {checklist.grouped(verdict.head)}",
        f"steps   {', '.join(verdict.steps)}; each confirmed by {verdict.quorum} officers where the script says so",
    ]
    lines += [f"signed  {name}, key {checklist.grouped(key)}" for name, key in verdict.officers.items()]
    for made in verdict.keys:
        kept = made.attestation.get("custody", "unknown")
        lines.append(f"key     {made.name} ({made.algorithm}, {kept}), public key {checklist.grouped(made.public_key)}")
    lines += [f"file    {path}, SHA-256 {checklist.grouped(digest)}" for path, digest in verdict.outputs.items()]
    lines += [f"failed  step {step}, and done later: {error}" for step, error in verdict.failures.items()]
    if not verdict.script_compared:
        lines.append("Not compared: whether this is the script that the officers agreed on (--script or --sha256).")
    if not verdict.outputs_compared:
        lines.append("Not compared: the files written (--outputs).")
    return "\n".join(map(visible, lines))


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given or ():
        name, separator, value = one.partition("=")
        # The value is not repeated: somebody may have typed a secret.
        if not separator or not value or name in found:
            raise Malformed(f"--{option} cannot be used.", {option: "must be NAME=…, once for each officer"})
        found[name] = value
    return found


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"{path} is not text.", {str(path): "must be UTF-8"}) from error


def _bytes(path: Path) -> bytes:
    return filing.read(Path(), str(path), MOST_OCTETS)
