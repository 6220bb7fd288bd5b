"""Transcripts written by an attacker: entries changed, chained anew, and signed by whose keys the attacker has."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec

from custodians import Custodian
from intaglio.ceremony.entry import Begun, Closed, Confirmed, Entry
from intaglio.ceremony.transcript import body, read, statement
from intaglio.ledger.entry import GENESIS, entry_hash


def entries(raw: bytes) -> list[Entry]:
    return [link.entry for link in read(raw)]


def written(found: Sequence[Entry], signers: Mapping[str, Custodian] | None = None) -> bytes:
    """Return a transcript of `found`, numbered and chained anew; who is in `signers` signs anew."""
    lines: list[bytes] = []
    previous = GENESIS
    begun = found[0]
    script = hashlib.sha256(begun.script.encode()).hexdigest() if isinstance(begun, Begun) else ""
    for sequence, one in enumerate(found, start=1):
        entry = msgspec.structs.replace(one, sequence=sequence)
        if isinstance(entry, Confirmed | Closed) and signers and entry.officer in signers:
            signature = signers[entry.officer].sign(statement(script, previous, entry))
            entry = msgspec.structs.replace(entry, signature=signature)
        content = body(entry)
        previous = entry_hash(previous, content)
        lines.append(b'{"body":' + content + b',"hash":"' + previous.hex().encode() + b'"}\n')
    return b"".join(lines)


def index(found: Sequence[Entry], wanted: Callable[[Entry], bool]) -> int:
    return next(place for place, one in enumerate(found) if wanted(one))
