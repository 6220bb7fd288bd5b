"""Time-stamps on a head of the ledger, judged offline."""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from asn1crypto import cms
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko.sign.validation.errors import SignatureValidationError
from pyhanko.sign.validation.generic_cms import validate_tst_signed_data
from pyhanko_certvalidator import ValidationContext

from intaglio_client.errors import Unusable
from intaglio_client.evidence import time_stamp
from intaglio_client.ledger import NotProven
from intaglio_client.receipt_report import HeadStamp


class Stamped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A time-stamp token, DER, on a head, and the name of its authority."""

    authority: str
    token: bytes


def trusted_root(content: bytes) -> x509.Certificate:
    """Return a certificate that is trusted, PEM or DER; raises `Unusable`."""
    try:
        pem = b"-----BEGIN" in content
        return x509.load_pem_x509_certificate(content) if pem else x509.load_der_x509_certificate(content)
    except (ValueError, x509.InvalidVersion) as unreadable:
        raise Unusable(f"The trusted certificate cannot be read: {unreadable}") from unreadable


def judged(one: Stamped, note: str, trusted: Sequence[x509.Certificate]) -> HeadStamp:
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
        judging = validate_tst_signed_data(signed, context, lambda name: hashlib.new(name, note.encode()).digest())
        # A loop of its own, in a thread of its own: the caller may be in one that runs.
        with ThreadPoolExecutor(1) as thread:
            verdict: Any = thread.submit(asyncio.run, judging).result()
    except (SignatureValidationError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise NotProven(f"the time-stamp of {one.authority} does not hold: {error}") from error
    if not (verdict["intact"] and verdict["valid"]):
        raise NotProven(f"the time-stamp of {one.authority} does not hold")
    return HeadStamp(told.time, told.by, trusted=bool(anchors) and verdict.get("trust_problem_indic") is None)


def unproven(stamps: Sequence[HeadStamp], trusted: Sequence[x509.Certificate]) -> str | None:
    """Return why roots that were given leave the time unproven, None if they do not."""
    if trusted and stamps and not any(one.trusted for one in stamps):
        return "the time-stamp leads to no root that is trusted: only the service says when this was"
    return None
