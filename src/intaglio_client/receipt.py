"""Verify a receipt of the ledger, offline: who signed which hash, when, and whether the key is destroyed."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from asn1crypto import cms
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko.sign.validation.generic_cms import validate_tst_signed_data
from pyhanko_certvalidator import ValidationContext

from intaglio_client.errors import Unusable
from intaglio_client.evidence import time_stamp
from intaglio_client.ledger import LedgerKey, NotProven, check_included, entry_hash
from intaglio_client.receipt_report import Entry, HeadStamp, ReceiptReport, Signed
from intaglio_client.report import Verdict

FORMAT: Final = "intaglio-receipt/1"
_KINDS: Final = {"signature.made": "signature", "timestamp.made": "time-stamp", "head.stamped": "time-stamp"}


class _Proven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: str
    previous: str
    leaf: int
    proof: list[str]


class _Stamped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    authority: str
    token: bytes


class _Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    about: str
    entries: list[_Proven]
    head: str
    stamps: list[_Stamped]
    key: str
    certificates: list[bytes]
    seal: bytes


def verify_receipt(content: bytes, *, key: str | None = None, roots: Sequence[bytes] = ()) -> ReceiptReport:
    """Return the judgement of a receipt.

    `key` is the ledger's, a line `NAME+ID+BASE64` that was had from elsewhere; `roots` are trusted certificates (PEM or
    DER), for the signer's certificate and the time-stamps. Without a key, nothing says whose ledger it is, and the
    verdict is INDETERMINATE at best. Raises `Unusable` for what is no receipt, or a key or root that is none.
    """
    trusted = [_root(one) for one in roots]
    receipt = _read(content)
    known = LedgerKey(receipt.key if key is None else key)
    try:
        report = _judge(receipt, content, known, trusted)
    except NotProven as error:
        return ReceiptReport(verdict=Verdict.INVALID, reason=str(error), about=receipt.about)
    if key is None:
        reason = "the ledger's key is known from the receipt alone: give the one that you have from elsewhere (--key)"
        return msgspec.structs.replace(report, verdict=Verdict.INDETERMINATE, reason=reason)
    return report


def _read(content: bytes) -> _Receipt:
    try:
        receipt = msgspec.json.decode(content, type=_Receipt)
    except (msgspec.MsgspecError, UnicodeDecodeError) as unreadable:
        raise Unusable(f"This is not a receipt: {unreadable}") from unreadable
    if receipt.format != FORMAT:
        raise Unusable(f"This is not a receipt that can be read here: {receipt.format}")
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
    stamps = tuple(_stamp(one, receipt.head, trusted) for one in receipt.stamps)
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
        return msgspec.json.decode(one.body, type=Entry)
    except msgspec.MsgspecError as unreadable:
        raise NotProven("an entry cannot be read") from unreadable


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


# Certificates and time-stamps ---------------------------------------------------------------------


def _root(content: bytes) -> x509.Certificate:
    try:
        pem = b"-----BEGIN" in content
        return x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)
    except ValueError as unreadable:
        raise Unusable(f"The trusted certificate cannot be read: {unreadable}") from unreadable


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as unreadable:
        raise NotProven("a certificate cannot be read") from unreadable


def _check_chain(chain: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate]) -> None:
    """Raise `NotProven` unless each certificate was issued by the next, and the last is trusted where anything is."""
    for one, above in zip(chain, [*chain[1:], *chain[-1:]], strict=True):
        try:
            one.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise NotProven("the certificates do not form a chain") from error
    if chain and trusted and chain[-1] not in trusted:
        raise NotProven("the signer's certificate leads to no root that is trusted")


def _stamp(one: _Stamped, note: str, trusted: Sequence[x509.Certificate]) -> HeadStamp:
    """Return what a time-stamp on the head says, and whether its authority leads to a trusted root.

    Raises `NotProven` unless it is on the head and signed by the certificate in it.
    """
    try:
        signed = cms.ContentInfo.load(one.token, strict=True)["content"]
        told = time_stamp("head", signed)
        held = [each.chosen for each in signed["certificates"]]
        anchors = [asn1_x509.Certificate.load(each.public_bytes(Encoding.DER)) for each in trusted]
        context = ValidationContext(
            trust_roots=anchors, other_certs=held, allow_fetching=False, moment=told.time, revocation_mode="soft-fail"
        )
        verdict: Any = asyncio.run(
            validate_tst_signed_data(signed, context, lambda name: hashlib.new(name, note.encode()).digest())
        )
    except (SignatureValidationError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotProven(f"the time-stamp of {one.authority} does not hold: {error}") from error
    if not (verdict["intact"] and verdict["valid"]):
        raise NotProven(f"the time-stamp of {one.authority} does not hold")
    return HeadStamp(told.time, told.by, trusted=bool(anchors) and verdict.get("trust_problem_indic") is None)
