"""Verify a receipt of the ledger, offline: who signed which hash, when, and whether the key is destroyed."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from intaglio_client.errors import Unusable
from intaglio_client.ledger import LedgerKey, NotProven, check_included, entry_hash
from intaglio_client.receipt_report import Entry, ReceiptReport, Signed
from intaglio_client.report import Verdict, visible
from intaglio_client.stamped import Stamped, judged, trusted_root, unproven

FORMAT: Final = "intaglio-receipt/1"
_KINDS: Final = {"signature.made": "signature", "timestamp.made": "time-stamp", "head.stamped": "time-stamp"}


class _Proven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: str
    previous: str
    leaf: int
    proof: list[str]


class _Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    about: str
    entries: list[_Proven]
    head: str
    stamps: list[Stamped]
    key: str
    certificates: list[bytes]
    seal: bytes


class _Details(msgspec.Struct, frozen=True):
    """What is told of an identity and of what was signed, as far as it is looked at here."""

    digest: str | None = None
    imprint: str | None = None
    credential: str | None = None
    epoch: str | None = None
    serial: str | None = None
    subject: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    verification: dict[str, Any] | None = None


def verify_receipt(content: bytes, *, key: str | None = None, roots: Sequence[bytes] = ()) -> ReceiptReport:
    """Return the judgement of a receipt.

    `key` is the ledger's, a line `NAME+ID+BASE64` that was had from elsewhere; `roots` are trusted certificates (PEM or
    DER), for the signer's certificate and the time-stamps. Without a key, nothing says whose ledger it is, and the
    verdict is INDETERMINATE at best; and so it is if roots are given and no time-stamp leads to one. Raises `Unusable`
    for what is no receipt, or a key or root that is none.
    """
    trusted = [trusted_root(one) for one in roots]
    receipt = _read(content)
    known = LedgerKey(receipt.key if key is None else key)
    try:
        report = _judge(receipt, content, known, trusted)
    except NotProven as error:
        return ReceiptReport(verdict=Verdict.INVALID, reason=str(error), about=receipt.about)
    except (ValueError, OverflowError, RecursionError, UnsupportedAlgorithm) as error:
        return ReceiptReport(verdict=Verdict.INVALID, reason=f"it cannot be read: {error}", about=receipt.about)
    if key is None:
        reason = "the ledger's key is known from the receipt alone: give the one that you have from elsewhere (--key)"
        return msgspec.structs.replace(report, verdict=Verdict.INDETERMINATE, reason=reason)
    doubt = unproven(report.time_stamps, trusted)
    return report if doubt is None else msgspec.structs.replace(report, verdict=Verdict.INDETERMINATE, reason=doubt)


def _read(content: bytes) -> _Receipt:
    try:
        receipt = msgspec.json.decode(content, type=_Receipt)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as unreadable:
        raise Unusable(f"This is not a receipt: {visible(str(unreadable))}") from unreadable
    if receipt.format != FORMAT:
        raise Unusable(f"This is not a receipt that can be read here: {visible(receipt.format)}")
    return receipt


def _judge(receipt: _Receipt, content: bytes, key: LedgerKey, trusted: list[x509.Certificate]) -> ReceiptReport:
    if key.line != receipt.key:
        raise NotProven("the receipt is of another ledger")
    # There is one way to write a receipt: any other is not what was sealed.
    if msgspec.json.format(msgspec.json.encode(receipt), indent=2) + b"\n" != content:
        raise NotProven("the receipt was changed")
    unsealed = msgspec.json.encode(msgspec.structs.replace(receipt, seal=b""))
    key.check(receipt.seal, f"{FORMAT}\n".encode() + unsealed, "the receipt")
    head = key.head(receipt.head)
    entries: list[Entry] = []
    for one in receipt.entries:
        previous, proof = _hex(one.previous), [_hex(node) for node in one.proof]
        check_included(entry_hash(previous, one.body.encode()), one.leaf, proof, head)
        entries.append(_entry(one))
    stamps = tuple(judged(one, receipt.head, trusted) for one in receipt.stamps)
    chain = [_certificate(der) for der in receipt.certificates]
    _check_chain(chain, trusted)
    signed = tuple(_signed(entries, chain))
    return ReceiptReport(
        verdict=Verdict.VALID,
        reason=None,
        about=receipt.about,
        signed=signed,
        entries=tuple(entries),
        ledger=head.origin,
        size=head.size,
        head_at=head.at,
        time_stamps=stamps,
        trusted=bool(trusted and chain),
        archived=not chain and any(one.identity is not None for one in signed),
    )


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as unreadable:
        raise NotProven("a hash cannot be read") from unreadable


def _entry(one: _Proven) -> Entry:
    try:
        entry = msgspec.json.decode(one.body, type=Entry)
        times = [entry.at]
        if entry.kind in _KINDS or entry.kind == "identity.created":
            told = msgspec.convert(entry.details, _Details)
            times += [time for time in (told.not_before, told.not_after) if time is not None]
        for time in times:
            time.astimezone(UTC)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as unreadable:
        raise NotProven("an entry cannot be read") from unreadable
    return entry


def _signed(entries: Sequence[Entry], chain: Sequence[x509.Certificate]) -> list[Signed]:
    """Return what was signed or stamped, with what is known of the certificate and its key."""
    created = {one.reference: one for one in entries if one.kind == "identity.created"}
    destroyed = {one.reference: one.at for one in entries if one.kind == "key.destroyed"}
    ended = {one.reference: one.at for one in entries if one.kind == "epoch.destroyed"}
    failed = {
        (one.reference, one.request_id) for one in entries if one.kind in {"signature.failed", "timestamp.failed"}
    }
    unheard = {one.request_id for one in entries if one.kind == "response.undelivered"}
    made = [one for one in entries if one.kind in _KINDS and (one.reference, one.request_id) not in failed]
    found: list[Signed] = []
    for one in made or created.values():
        birth = created.get(one.reference)
        certificate = _of_signer(birth, chain)
        # Without any, it is archived: the entry says the rest.
        if birth is not None and certificate is None and chain:
            raise NotProven("the signer's certificate is not the one that was issued for the identity")
        found.append(
            Signed(
                what=_KINDS.get(one.kind, "identity"),
                hash=one.details.get("digest") or one.details.get("imprint"),
                at=one.at,
                undelivered=one.request_id in unheard,
                entry=f"{one.chain}/{one.sequence}",
                account=one.account_id,
                identity=None if birth is None else birth.reference,
                credential=one.details.get("credential"),
                subject=_text(certificate, birth),
                serial=None if birth is None else birth.details.get("serial"),
                issuer=None if certificate is None else certificate.issuer.rfc4514_string(),
                not_before=_told(birth, "not_before") if certificate is None else certificate.not_valid_before_utc,
                not_after=_told(birth, "not_after") if certificate is None else certificate.not_valid_after_utc,
                verification=None if birth is None else birth.details.get("verification"),
                key_destroyed_at=None if birth is None else destroyed.get(birth.reference),
                seal_destroyed_at=None if birth is None else ended.get(birth.details.get("epoch")),
            )
        )
    return found


def _told(birth: Entry | None, name: str) -> datetime | None:
    """Return a time that the entry of an identity's birth tells."""
    told = None if birth is None else birth.details.get(name)
    return datetime.fromisoformat(told) if isinstance(told, str) else None


def _text(certificate: x509.Certificate | None, birth: Entry | None) -> str | None:
    if certificate is not None:
        return certificate.subject.rfc4514_string()
    return None if birth is None else birth.details.get("subject")


def _of_signer(birth: Entry | None, chain: Sequence[x509.Certificate]) -> x509.Certificate | None:
    if birth is None or not chain or f"{chain[0].serial_number:x}" != birth.details.get("serial"):
        return None
    return chain[0]


# Certificates --------------------------------------------------------------------------------------


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as unreadable:
        raise NotProven("a certificate cannot be read") from unreadable


def _check_chain(chain: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate]) -> None:
    """Raise `NotProven` unless each certificate was issued by the next, and the last is trusted where anything is."""
    for one, above in zip(chain, [*chain[1:], *chain[-1:]], strict=True):
        try:
            one.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise NotProven("the certificates do not form a chain") from error
    if chain and trusted and chain[-1] not in trusted:
        raise NotProven("the signer's certificate leads to no root that is trusted")
