"""Judge signed PDFs as ETSI EN 319 102-1 says, offline by default, with pyHanko."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final

from asn1crypto import cms, x509
from pyhanko.keys import load_certs_from_pemder_data
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.ades.report import AdESIndeterminate, AdESPassed, AdESStatus, AdESSubIndic
from pyhanko.sign.diff_analysis import ModificationLevel
from pyhanko.sign.validation.ades import (
    AdESBasicValidationResult,
    ades_basic_validation,
    ades_lta_validation,
    ades_with_time_validation,
)
from pyhanko.sign.validation.generic_cms import extract_tst_data_iter
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.policy_decl import (
    LocalKnowledge,
    PdfSignatureValidationSpec,
    RevinfoOnlineFetchingRule,
    RevocationInfoGatheringSpec,
    SignatureValidationSpec,
)
from pyhanko.sign.validation.settings import KeyUsageConstraints
from pyhanko.sign.validation.status import SignatureStatus
from pyhanko_certvalidator.context import CertValidationPolicySpec
from pyhanko_certvalidator.ltv.types import ValidationTimingInfo
from pyhanko_certvalidator.policy_decl import CertRevTrustPolicy, RevocationCheckingPolicy
from pyhanko_certvalidator.registry import SimpleTrustManager

from intaglio_client.errors import Unusable
from intaglio_client.evidence import embedded_knowledge, level, summary, time_stamp
from intaglio_client.report import Change, Report, SignatureReport, TimeStamp, Verdict, meaning

OVER: Final = (AdESIndeterminate.OUT_OF_BOUNDS_NO_POE, AdESIndeterminate.OUT_OF_BOUNDS_NOT_REVOKED)
"""The certificate is over, which a time-stamp from before can put right."""

UNREADABLE: Final = (PdfError, ValueError, LookupError, TypeError, AttributeError, AssertionError, NotImplementedError)
"""What pyHanko raises at documents and signatures that are not built as such."""


def verify_pdf(document: bytes, roots: Sequence[bytes], *, at: datetime | None = None, online: bool = False) -> Report:
    """Return the judgement of every signature in the document; for code without an event loop.

    See `verify_pdf_async`.
    """
    return asyncio.run(verify_pdf_async(document, roots, at=at, online=online))


async def verify_pdf_async(
    document: bytes, roots: Sequence[bytes], *, at: datetime | None = None, online: bool = False
) -> Report:
    """Return the judgement of every signature in the document.

    `roots` are the trusted certificates (PEM or DER), `at` the moment to judge at instead of
    now; `online` fetches status that the file does not hold. Raises `Unusable` for what is
    not a PDF or not a certificate.
    """
    if at is not None and at.tzinfo is None:
        raise Unusable("The moment to judge at needs a time zone.")
    trusted = _roots(roots)
    try:
        reader = PdfFileReader(BytesIO(document), strict=False)
        embedded = list(reader.embedded_signatures)
        stamps = [each for each in embedded if each.sig_object_type == "/DocTimeStamp"]
        policy = _policy(trusted, embedded_knowledge(reader), online=online)
        reports = [
            await _judge(each, [stamp for stamp in stamps if stamp.signed_revision > each.signed_revision], policy, at)
            for each in embedded
            if each.sig_object_type == "/Sig"
        ]
    except UNREADABLE as unreadable:
        raise Unusable(f"The document or a signature in it cannot be read: {unreadable}") from unreadable
    return Report(signatures=tuple(reports))


async def _judge(
    signature: EmbeddedPdfSignature,
    later_stamps: list[EmbeddedPdfSignature],
    policy: SignatureValidationSpec,
    at: datetime | None,
) -> SignatureReport:
    stamps = tuple(time_stamp("signature", each) for each in _inner_stamps(signature)) + tuple(
        time_stamp("document", each.signed_data) for each in later_stamps
    )
    signature.compute_integrity_info()  # type: ignore[no-untyped-call]
    result: AdESBasicValidationResult[Any] | None = None
    reason = None
    try:
        result = await _result(signature, stamps, policy, at)
        reason = result.failure_msg
    except UNREADABLE as wrong:
        reason = str(wrong)
    status = result.api_status if result is not None else None
    indication = result.ades_subindic if result is not None else None
    change = _change(signature, status)
    verdict = _verdict(indication, change)
    evidence = summary(policy.local_knowledge, signature.signer_cert)
    return SignatureReport(
        field=str(signature.field_name),
        verdict=verdict,
        indication=_indication(indication),
        reason=None if verdict is Verdict.VALID else meaning(_indication(indication), change, reason),
        signer=_name(signature.signer_cert),
        subject=signature.signer_cert.subject.human_friendly,
        issuer=signature.signer_cert.issuer.human_friendly,
        serial_number=f"{signature.signer_cert.serial_number:x}",
        stated_reason=_text(signature.sig_object.get("/Reason")),
        claimed_time=signature.self_reported_timestamp,
        trusted_time=_trusted_time(result, stamps) if verdict is Verdict.VALID else None,
        chain=_chain(signature, status),
        time_stamps=stamps,
        evidence=evidence,
        level=level(stamps, evidence),
        change=change,
    )


async def _result(
    signature: EmbeddedPdfSignature,
    stamps: tuple[TimeStamp, ...],
    policy: SignatureValidationSpec,
    at: datetime | None,
) -> AdESBasicValidationResult[Any]:
    """Judge by the process of ETSI EN 319 102-1 that fits the evidence: basic, with time, or long-term."""
    moment = at or datetime.now(UTC)
    timing = ValidationTimingInfo(moment, moment, point_in_time_validation=at is not None)
    if any(each.kind == "document" for each in stamps):
        # pyHanko reads the document security store itself here, with its own proofs of existence.
        alone = replace(policy, local_knowledge=LocalKnowledge())
        found = await ades_lta_validation(signature, PdfSignatureValidationSpec(alone), timing_info=timing)
        # Its message only repeats the indication.
        return replace(found, failure_msg=None)
    digest = signature.compute_digest()
    if not stamps:
        return await ades_basic_validation(signature.signed_data, policy, timing_info=timing, raw_digest=digest)
    result = await ades_with_time_validation(signature.signed_data, policy, timing_info=timing, raw_digest=digest)
    stamped_at = _trusted_time(result, stamps)
    if result.ades_subindic not in OVER or stamped_at is None:
        return result
    # The signer's certificate has ended, the time-stamp holds: was all well when it was made,
    # by the status embedded (§5.5.4, OUT_OF_BOUNDS_NOT_REVOKED)?
    then = ValidationTimingInfo(stamped_at, stamped_at, point_in_time_validation=True)
    past = await ades_basic_validation(signature.signed_data, policy, timing_info=then, raw_digest=digest)
    if past.ades_subindic is not AdESPassed.OK:
        return result
    return replace(result, ades_subindic=AdESPassed.OK, api_status=past.api_status, failure_msg=None)


def _inner_stamps(signature: EmbeddedPdfSignature) -> list[cms.SignedData]:
    return list(extract_tst_data_iter(signature.signer_info, signed=False))


def _policy(trusted: list[x509.Certificate], knowledge: LocalKnowledge, *, online: bool) -> SignatureValidationSpec:
    # A certificate that names a place to ask for its status needs one; a certificate of
    # minutes that says it never has any (RFC 9608) does not.
    certificates = CertValidationPolicySpec(
        trust_manager=SimpleTrustManager.build(trust_roots=trusted),
        revinfo_policy=CertRevTrustPolicy(RevocationCheckingPolicy.from_legacy("hard-fail")),
    )
    rule = RevinfoOnlineFetchingRule.NO_HISTORICAL_FETCH if online else RevinfoOnlineFetchingRule.LOCAL_ONLY
    return SignatureValidationSpec(
        cert_validation_policy=certificates,
        ts_cert_validation_policy=certificates,
        revinfo_gathering_policy=RevocationInfoGatheringSpec(online_fetching_rule=rule),
        local_knowledge=knowledge,
        key_usage_settings=KeyUsageConstraints(key_usage={"digital_signature", "non_repudiation"}),
    )


def _roots(roots: Sequence[bytes]) -> list[x509.Certificate]:
    try:
        trusted = list(load_certs_from_pemder_data(b"\n".join(roots))) if roots else []
    except ValueError as unreadable:
        raise Unusable(f"The trusted certificate cannot be read: {unreadable}") from unreadable
    if not trusted:
        raise Unusable("At least one trusted root certificate is needed.")
    return trusted


def _change(signature: EmbeddedPdfSignature, status: SignatureStatus | None) -> Change:
    if status is not None and not (status.intact and status.valid):
        return Change.CONTENT
    known = signature.summarise_integrity_info()
    level = getattr(known["diff_result"], "modification_level", ModificationLevel.OTHER)
    if known["docmdp_ok"] is False or level not in _CHANGES:
        return Change.NOT_ALLOWED
    return _CHANGES[level]


_CHANGES: Final = {
    ModificationLevel.NONE: Change.NONE,
    ModificationLevel.LTA_UPDATES: Change.EVIDENCE,
    ModificationLevel.FORM_FILLING: Change.FORMS,
}


def _verdict(indication: AdESSubIndic | None, change: Change) -> Verdict:
    if change in (Change.CONTENT, Change.NOT_ALLOWED) or indication is None:
        return Verdict.INVALID
    if indication is AdESPassed.OK:
        return Verdict.VALID
    return Verdict.INVALID if indication.status is AdESStatus.FAILED else Verdict.INDETERMINATE


def _indication(indication: AdESSubIndic | None) -> str:
    return "FORMAT_FAILURE" if indication is None else str(indication.standard_name)


def _trusted_time(result: Any, stamps: tuple[TimeStamp, ...]) -> datetime | None:
    # Where no time-stamp counted, pyHanko gives the moment of judging: that proves nothing.
    moment = getattr(result, "best_signature_time", None)
    return next((each.time for each in stamps if each.time == moment), None)


def _chain(signature: EmbeddedPdfSignature, status: SignatureStatus | None) -> tuple[str, ...]:
    path = status.validation_path if status is not None else None
    if path is None:
        return (_name(signature.signer_cert),)
    return tuple(_name(each) for each in reversed(list(path.iter_certs(include_root=True))))


def _name(certificate: x509.Certificate) -> str:
    held = certificate.subject.native
    found = held.get("common_name") or held.get("pseudonym") or held.get("organization_name")
    return found if isinstance(found, str) else str(certificate.subject.human_friendly)


def _text(held: Any) -> str | None:
    return None if held is None else str(held)
