"""What a transcript consists of: one struct for each kind of entry.

`at` is UTC. Hashes are hex; signatures, keys and certificates are octets (base64 in the file).
"""

from datetime import datetime
from typing import Annotated

import msgspec

# What a quorum confirms when it is not a step: the ceremony itself, at its beginning and after an interruption.
CEREMONY = "ceremony"
# What officers are absent from when they confirmed the ceremony and do not sign its end.
CLOSING = "closing"

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every entry has; `sequence` counts from 1."""

    sequence: int
    at: Instant


class Found(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The home as it was found.

    `genesis` is the hash of the first entry of its ledger, by which it is known again; `authorities` are the
    certificates (DER) of those that the script names.
    """

    genesis: str
    organization: str
    public_url: str
    policy_arc: str
    country: str | None = None
    authorities: dict[str, bytes] = {}


class Begun(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="begun"):
    """The ceremony begins: the script in full, chance that no other transcript has, and the home (None: to be made)."""

    script: str
    nonce: str
    software: str
    home: Found | None


class Confirmed(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="confirmed"):
    """An officer confirms `covers`: the ceremony or a step, with the hashes of what the step will read."""

    officer: str
    covers: str
    inputs: dict[str, str]
    signature: bytes


class Absent(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="absent"):
    """An officer who was asked and did not confirm, and why."""

    officer: str
    covers: str
    reason: str


class StepBegun(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="step.begun"):
    """A step begins: what comes next may have happened even if the transcript ends here.

    `inputs` are the files that it reads, whole, by path: the transcript needs no other file to be verified.
    """

    step: str
    inputs: dict[str, bytes]


class KeyMade(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that a step made or showed to be here.

    `public_key` is SubjectPublicKeyInfo (DER), `attestation` what its custody says of it, and `proof` its own signature
    over `possession.statement`.
    """

    name: str
    algorithm: str
    public_key: bytes
    attestation: dict[str, str | bool]
    proof: bytes


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of a step, in DER; `recovered` says that it was found done after an interruption.

    A CA comes with an OCSP responder of its own, which is a key and a certificate more.
    """

    certificate: bytes | None = None
    request: bytes | None = None
    crl: bytes | None = None
    key: KeyMade | None = None
    responder: bytes | None = None
    responder_key: KeyMade | None = None
    home: Found | None = None
    recovered: bool = False


class StepCompleted(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="step.completed"):
    """A step is done; `outputs` are SHA-256 of the files written, by path."""

    step: str
    outputs: dict[str, str]
    result: Result


class StepFailed(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="step.failed"):
    """A step failed and the ceremony stopped."""

    step: str
    error: str


class Resumed(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="resumed"):
    """An interrupted ceremony goes on; `discarded` octets of an entry that was never whole were removed before."""

    discarded: int


class Closing(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="closing"):
    """Every step is done; `present` are the officers who now close the transcript with their signatures."""

    present: list[str]


class Closed(_Entry, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="closed"):
    """The closing signature of one officer over everything before it."""

    officer: str
    signature: bytes


Entry = Begun | Confirmed | Absent | StepBegun | StepCompleted | StepFailed | Resumed | Closing | Closed
Signed = Confirmed | Closed


def kind(entry: Entry) -> str:
    """Return the entry's kind as the transcript writes it."""
    return str(entry.__struct_config__.tag)
