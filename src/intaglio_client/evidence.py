"""Read the evidence that a signed PDF carries: time-stamps, chain and status."""

from datetime import UTC
from typing import Final

from asn1crypto import cms, crl, ocsp, x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.validation.dss import DocumentSecurityStore
from pyhanko.sign.validation.errors import NoDSSFoundError
from pyhanko.sign.validation.policy_decl import LocalKnowledge
from pyhanko_certvalidator.revinfo.archival import CRLContainer, OCSPContainer

from intaglio_client.report import Evidence, TimeStamp

NO_EVIDENCE: Final = Evidence()


def time_stamp(kind: str, token: cms.SignedData) -> TimeStamp:
    """Return what a time-stamp token says; it is not judged here."""
    content = token["encap_content_info"]["content"].parsed
    signer = token["signer_infos"][0]["sid"].chosen
    held = [each.chosen for each in token["certificates"] if isinstance(each.chosen, x509.Certificate)]
    serial = signer["serial_number"].native if isinstance(signer, cms.IssuerAndSerialNumber) else None
    by = next((each.subject.human_friendly for each in held if each.serial_number == serial), "unknown")
    return TimeStamp(kind=kind, time=content["gen_time"].native.astimezone(UTC), by=by)


def embedded_knowledge(reader: PdfFileReader) -> LocalKnowledge:
    """Return certificates, OCSP responses and CRLs of the document security store (ISO 32000-2 §12.8.4.3)."""
    try:
        store = DocumentSecurityStore.read_dss(reader)
    except NoDSSFoundError:
        return LocalKnowledge()
    responses = [ocsp.OCSPResponse.load(each.get_object().data) for each in store.ocsps]
    lists = [crl.CertificateList.load(each.get_object().data) for each in store.crls]
    return LocalKnowledge(
        known_ocsps=[held for each in responses for held in OCSPContainer.load_multi(each)],
        known_crls=[CRLContainer(each) for each in lists],
        known_certs=list(store.load_certs()),
    )


def summary(knowledge: LocalKnowledge, signer: x509.Certificate) -> Evidence:
    """Return how much evidence there is, and whether the signer's own status is in it."""
    singles = [each.extract_single_response() for each in knowledge.known_ocsps]
    answered = {single["cert_id"]["serial_number"].native for single in singles if single is not None}
    return Evidence(
        certificates=len(knowledge.known_certs),
        ocsp_responses=len({each.ocsp_response_data.dump() for each in knowledge.known_ocsps}),
        crls=len(knowledge.known_crls),
        signer_status=signer.serial_number in answered,
    )


def level(stamps: tuple[TimeStamp, ...], evidence: Evidence) -> str:
    """Return the PAdES baseline level that the evidence looks like."""
    if not stamps:
        return "B-B"
    if evidence == NO_EVIDENCE:
        return "B-T"
    return "B-LTA" if any(each.kind == "document" for each in stamps) else "B-LT"
