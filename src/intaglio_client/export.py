"""Verify an export of the ledger, line by line: each stands alone under the signed head in the first."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from intaglio_client.errors import Unusable
from intaglio_client.ledger import LedgerKey, NotProven, check_included, entry_hash

_FORMAT = "intaglio-export/1"


class _Header(msgspec.Struct, frozen=True):
    format: str
    head: str
    key: str


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: str
    previous: str
    leaf: int
    proof: list[str]


class ExportReport(msgspec.Struct, frozen=True):
    """How many entries were proven, under a head of which ledger and time; `reason` says what is not, and where."""

    entries: int
    ledger: str
    size: int
    head_at: datetime | None
    reason: str | None = None


def verify_export(lines: Iterable[bytes], key: str) -> ExportReport:
    """Return the judgement of an export; `key` is the ledger's, a line `NAME+ID+BASE64`.

    Raises `Unusable` for what is no export.
    """
    rest = iter(lines)
    known = LedgerKey(key)
    try:
        header = msgspec.json.decode(next(rest, b""), type=_Header)
    except msgspec.MsgspecError as unreadable:
        raise Unusable(f"This is not an export of a ledger: {unreadable}") from unreadable
    if header.format != _FORMAT:
        raise Unusable(f"This is not an export that can be read here: {header.format}")
    count = 0
    try:
        head = known.head(header.head)
    except NotProven as error:
        return ExportReport(0, known.name, 0, None, str(error))
    for number, line in enumerate(rest, 2):
        try:
            one = msgspec.json.decode(line, type=_Line)
            proof = [bytes.fromhex(node) for node in one.proof]
            check_included(entry_hash(bytes.fromhex(one.previous), one.body.encode()), one.leaf, proof, head)
        except (NotProven, msgspec.MsgspecError, ValueError) as error:
            return ExportReport(count, head.origin, head.size, head.at, f"line {number}: {error}")
        count += 1
    return ExportReport(count, head.origin, head.size, head.at)
