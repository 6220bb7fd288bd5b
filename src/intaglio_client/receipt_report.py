"""What the verification of a receipt found, as records and as text for a person."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from intaglio_client.report import Verdict, visible


class Entry(msgspec.Struct, frozen=True):
    """An entry of the ledger, as it was written."""

    chain: str
    sequence: int
    at: datetime
    actor: str
    kind: str
    account_id: str | None
    reference: str | None
    request_id: str | None
    details: dict[str, Any]
    approval: str | None = None


class HeadStamp(msgspec.Struct, frozen=True):
    """A time-stamp on the head; `trusted` if its authority leads to a root that was said to be."""

    time: datetime
    by: str
    trusted: bool


class Signed(msgspec.Struct, frozen=True):
    """A signature, a time-stamp, or an identity that has not signed: what, by whom, when, and what became of the key.

    `hash` is hex; `undelivered` if it is on record here that the answer reached nobody; `at` is by the service's clock;
    `key_destroyed_at` is when the key was overwritten, `seal_destroyed_at` when the key was destroyed under which every
    copy of it rests.
    """

    what: str
    hash: str | None
    at: datetime
    undelivered: bool
    entry: str
    account: str | None
    identity: str | None
    credential: str | None
    subject: str | None
    serial: str | None
    issuer: str | None
    not_before: datetime | None
    not_after: datetime | None
    verification: dict[str, Any] | None
    key_destroyed_at: datetime | None
    seal_destroyed_at: datetime | None


class ReceiptReport(msgspec.Struct, frozen=True):
    """The judgement of a receipt; `trusted` tells whether certificates were judged by a root that was given.

    `archived` tells that the service does not keep the signer's certificate any more, so that none is in the receipt.
    """

    verdict: Verdict
    reason: str | None
    about: str
    signed: tuple[Signed, ...] = ()
    entries: tuple[Entry, ...] = ()
    ledger: str = ""
    size: int = 0
    head_at: datetime | None = None
    time_stamps: tuple[HeadStamp, ...] = ()
    trusted: bool = False
    archived: bool = False


def receipt_text(report: ReceiptReport) -> str:
    """Return a report for a person."""
    return "\n".join(map(visible, _lines(report)))


def _lines(report: ReceiptReport) -> Iterator[str]:
    yield report.verdict.value + (f" - {report.reason}" if report.reason else "")
    if report.head_at is None:
        return
    for one in report.signed:
        yield from _signed(one)
    others = [one for one in report.entries if not report.signed]
    for entry in others:
        yield f"{entry.kind}"
        yield f"  when         {_moment(entry.at)}, by the service's clock"
        yield f"  by           {entry.actor}"
        yield f"  entry        {entry.chain}/{entry.sequence}"
    yield "proof"
    yield f"  ledger       {report.ledger}, {report.size} entries, signed {_moment(report.head_at)}"
    yield from stamp_lines(report.time_stamps)
    if not report.time_stamps:
        yield "  time-stamp   none yet: ask for the receipt again in a minute or two"
    if report.archived:
        yield "  certificates archived long after their end: the signer's is in what was signed"
    elif not report.trusted:
        yield "  certificates they form a chain; no root was given to judge it by (--trust)"


def stamp_lines(stamps: Iterable[HeadStamp]) -> Iterator[str]:
    """Yield a line for a person for each time-stamp on the head."""
    for stamp in stamps:
        trust = "" if stamp.trusted else " (no root was given that it leads to)"
        yield f"  time-stamp   all this was on record at {_moment(stamp.time)}, says {stamp.by}{trust}"


def _signed(one: Signed) -> Iterator[str]:
    yield one.what
    if one.hash is not None:
        yield f"  hash         {one.hash}"
    yield f"  when         {_moment(one.at)}, by the service's clock"
    if one.undelivered:
        yield "  answer       reached nobody"
    if one.subject is not None:
        yield f"  signed by    {one.subject}"
    if one.identity is not None:
        yield f"  identity     {one.identity} of the account {one.account}, credential {one.credential}"
    if one.verification is not None:
        told = ", ".join(f"{name} {value}" for name, value in one.verification.items() if isinstance(value, str))
        yield f"  verified     {told}"
    if one.serial is not None:
        by = "" if one.issuer is None else f", issued by {one.issuer}"
        yield f"  certificate  serial number {one.serial}{by}"
        if one.not_before is not None and one.not_after is not None:
            yield f"               from {_moment(one.not_before)} to {_moment(one.not_after)}"
    if one.identity is not None:
        yield f"  key          {_fate(one)}"
    yield f"  entry        {one.entry}"


def _fate(one: Signed) -> str:
    if one.key_destroyed_at is None:
        return "this receipt does not say that it is destroyed: ask for one when its ten minutes are over"
    if one.seal_destroyed_at is None:
        return f"destroyed {_moment(one.key_destroyed_at)}; the key that seals copies of it is not destroyed yet"
    ends = f"{_moment(one.key_destroyed_at)}, and the key that seals copies of it {_moment(one.seal_destroyed_at)}"
    return f"destroyed {ends}: nothing can sign with it again"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
