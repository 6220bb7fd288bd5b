"""Verifying a transcript with nothing but itself: no home, no secrets.

What a transcript cannot say by itself is whether its script is the one that the officers agreed on, and whether the
keys in that script are theirs: the script's hash, known from elsewhere, answers both.
"""

import hashlib
import hmac
from datetime import datetime
from pathlib import Path

import msgspec

from intaglio.ceremony import filing
from intaglio.ceremony.officer import officer_key
from intaglio.ceremony.replay import Progress, replay
from intaglio.ceremony.transcript import read
from intaglio.errors import Conflict, Malformed
from intaglio.pki.text import visible
from intaglio.staff.signature import fingerprint


class Made(msgspec.Struct, frozen=True):
    """A key that a step made or showed: `public_key` is SHA-256 of its SubjectPublicKeyInfo (hex)."""

    step: str
    name: str
    algorithm: str
    public_key: str
    attestation: dict[str, str | bool]


class Verdict(msgspec.Struct, frozen=True):
    """What a transcript proves once it holds; hashes are hex, `officers` those who signed its end, by key."""

    title: str
    script: str
    head: str
    entries: int
    begun: datetime
    ended: datetime
    quorum: int
    officers: dict[str, str]
    steps: list[str]
    keys: list[Made]
    outputs: dict[str, str]
    failures: dict[str, str]
    script_compared: bool
    outputs_compared: bool


def verify(raw: bytes, *, script_sha256: str | None = None, outputs: Path | None = None) -> Verdict:
    """Replay a transcript; raises `Conflict` naming the first entry (or file) that does not hold.

    With `script_sha256` its script must be that one; with `outputs` every file written must lie there, unchanged.
    """
    links = read(raw)
    progress = replay(links)
    last = links[-1].entry
    if not progress.complete:
        raise Conflict(
            f"The transcript ends at entry {last.sequence} before the ceremony does: {_missing(progress)}.",
            {f"entry {last.sequence}": "is the last, and the ceremony was not closed"},
        )
    script = progress.script
    if script_sha256 is not None and not hmac.compare_digest(script_sha256, script.sha256):
        raise Conflict(
            "The transcript is of another script.", {"entry 1": f"its script has the SHA-256 {script.sha256}"}
        )
    written = {path: digest for done in progress.done.values() for path, digest in done.outputs.items()}
    if outputs is not None:
        _compare(outputs, written)
    return Verdict(
        title=script.title,
        script=script.sha256,
        head=progress.head.hex(),
        entries=len(links),
        begun=progress.begun.at,
        ended=last.at,
        quorum=script.quorum,
        officers={name: fingerprint(officer_key(script.officer(name))) for name in progress.closed},
        steps=list(progress.done),
        keys=[
            Made(
                identifier,
                key.name,
                key.algorithm,
                hashlib.sha256(key.public_key).hexdigest(),
                {
                    visible(name): visible(said) if isinstance(said, str) else said
                    for name, said in key.attestation.items()
                },
            )
            for identifier, done in progress.done.items()
            for key in (done.result.key, done.result.responder_key)
            if key is not None
        ],
        outputs=written,
        failures={step: visible(error) for step, error in progress.failures.items()},
        script_compared=script_sha256 is not None,
        outputs_compared=outputs is not None,
    )


def _missing(progress: Progress) -> str:
    if progress.next is not None:
        return f"step {progress.next.id} is not done"
    return "closing signatures are missing"


def _compare(folder: Path, written: dict[str, str]) -> None:
    faults: dict[str, str] = {}
    for path, digest in written.items():
        try:
            content = filing.read(folder, path)
        except Malformed as error:
            faults[path] = error.fields[path]
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            faults[path] = "is not what the ceremony wrote"
    if faults:
        raise Conflict("Files are not those of the ceremony.", faults)
