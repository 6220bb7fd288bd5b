"""Verify an export of the ledger, line by line: each stands alone under the signed head in the first.

That no line is missing is not in the lines: the ledger's entry `ledger.exported` has the SHA-256 of them all.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import msgspec

from intaglio_client.errors import Unusable
from intaglio_client.ledger import Head, LedgerKey, NotProven, check_included, entry_hash
from intaglio_client.receipt_report import HeadStamp, stamp_lines
from intaglio_client.report import Verdict, visible
from intaglio_client.stamped import Stamped, judged, trusted_root, unproven

_FORMAT = "intaglio-export/1"


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    head: str
    stamps: list[Stamped]
    key: str


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: str
    previous: str
    leaf: int
    proof: list[str]


class _Place(msgspec.Struct, frozen=True):
    chain: str
    sequence: int


class ExportReport(msgspec.Struct, frozen=True):
    """How many entries were proven, under a head of which ledger and time; `reason` says what is not, and where.

    `sha256` (hex) is that of the whole, None where it was not read to its end.
    """

    verdict: Verdict
    entries: int
    ledger: str
    size: int
    head_at: datetime | None
    time_stamps: tuple[HeadStamp, ...] = ()
    sha256: str | None = None
    reason: str | None = None


def verify_export(lines: Iterable[bytes], key: str, roots: Sequence[bytes] = ()) -> ExportReport:
    """Return the judgement of an export.

    `key` is the ledger's, a line `NAME+ID+BASE64`; `roots` are trusted certificates (PEM or DER) for the time-stamps.
    Raises `Unusable` for what is no export.
    """
    rest = iter(lines)
    known, trusted = LedgerKey(key), [trusted_root(one) for one in roots]
    first = next(rest, b"")
    try:
        header = msgspec.json.decode(first, type=_Header)
    except (msgspec.MsgspecError, ValueError, RecursionError) as unreadable:
        raise Unusable(f"This is not an export of a ledger: {visible(str(unreadable))}") from unreadable
    if header.format != _FORMAT:
        raise Unusable(f"This is not an export that can be read here: {visible(header.format)}")
    invalid = ExportReport(Verdict.INVALID, 0, known.name, 0, None)
    try:
        head = known.head(header.head)
        _check_header(header, first, known)
        stamps = tuple(judged(one, header.head, trusted) for one in header.stamps)
    except NotProven as error:
        return msgspec.structs.replace(invalid, reason=str(error))
    whole = hashlib.sha256(first)
    last: dict[str, int] = {}
    invalid = ExportReport(Verdict.INVALID, 0, head.origin, head.size, head.at, stamps)
    count = 0
    for line in rest:
        try:
            _check(line, head, last)
        except (NotProven, msgspec.MsgspecError, ValueError, RecursionError) as error:
            return msgspec.structs.replace(invalid, entries=count, reason=f"line {count + 2}: {error}")
        whole.update(line)
        count += 1
    if not count:
        return msgspec.structs.replace(invalid, reason="there is no entry in it")
    doubt = unproven(stamps, trusted)
    verdict = Verdict.VALID if doubt is None else Verdict.INDETERMINATE
    return msgspec.structs.replace(invalid, verdict=verdict, entries=count, sha256=whole.hexdigest(), reason=doubt)


def export_text(report: ExportReport) -> str:
    """Return a report for a person."""
    return "\n".join(map(visible, _lines(report)))


def _lines(report: ExportReport) -> Iterator[str]:
    yield report.verdict.value + (f" - {report.reason}" if report.reason else "")
    if report.sha256 is None:
        return
    yield f"{report.entries} entries are in the tree of {report.ledger}, signed {report.head_at}."
    yield from stamp_lines(report.time_stamps)
    yield f"  SHA-256      {report.sha256}"
    yield "               none is missing if the ledger's entry ledger.exported has the same"


def _check_header(header: _Header, line: bytes, known: LedgerKey) -> None:
    if header.key != known.line:
        raise NotProven("the export is of another ledger")
    _check_written(header, line)


def _check(line: bytes, head: Head, last: dict[str, int]) -> None:
    """Raise `NotProven` or what reading raises unless a line is one that follows those before."""
    one = msgspec.json.decode(line, type=_Line)
    _check_written(one, line)
    proof = [_hex(node) for node in one.proof]
    check_included(entry_hash(_hex(one.previous), one.body.encode()), one.leaf, proof, head)
    place = msgspec.json.decode(one.body, type=_Place)
    if place.sequence <= last.get(place.chain, 0):
        raise NotProven(f"{place.chain}/{place.sequence} is there twice, or behind a later one")
    last[place.chain] = place.sequence


def _check_written(one: _Header | _Line, line: bytes) -> None:
    """There is one way to write each line: another may say more than was read."""
    if msgspec.json.encode(one) + b"\n" != line:
        raise NotProven("is not written as the service does")


def _hex(text: str) -> bytes:
    found = bytes.fromhex(text)
    if found.hex() != text:
        raise NotProven("a hash cannot be read")
    return found
