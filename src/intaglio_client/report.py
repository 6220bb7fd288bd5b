"""What a verification found, as records and as text for a person."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec


class Verdict(StrEnum):
    """The main indication (ETSI EN 319 102-1 §5.1.3), in the words people use."""

    VALID = "VALID"
    INVALID = "INVALID"
    INDETERMINATE = "INDETERMINATE"


class Change(StrEnum):
    """What became of the document after it was signed."""

    NONE = "not changed"
    EVIDENCE = "not changed; only evidence was added after signing"
    FORMS = "not changed; signatures or allowed form entries were added after signing"
    CONTENT = "CHANGED: what was signed is not what is there now"
    NOT_ALLOWED = "CHANGED: something was added after signing that a signed document must not get"


class TimeStamp(msgspec.Struct, frozen=True):
    """A time-stamp on the signature or the document; `time` is UTC, `by` the authority's name."""

    kind: str
    time: datetime
    by: str


class Evidence(msgspec.Struct, frozen=True):
    """What the document security store holds; `signer_status`: a status of the signer's certificate too."""

    certificates: int = 0
    ocsp_responses: int = 0
    crls: int = 0
    signer_status: bool = False


class SignatureReport(msgspec.Struct, frozen=True):
    """One signature: who, when, by which chain, with which evidence, and the verdict.

    `indication` is the sub-indication of ETSI EN 319 102-1; `chain` names the signer first and
    the root last; `trusted_time` (UTC) is proved by time-stamps, `claimed_time` by nobody.
    """

    field: str
    verdict: Verdict
    indication: str
    reason: str | None
    signer: str
    subject: str
    issuer: str
    serial_number: str
    stated_reason: str | None
    claimed_time: datetime | None
    trusted_time: datetime | None
    chain: tuple[str, ...]
    time_stamps: tuple[TimeStamp, ...]
    evidence: Evidence
    level: str
    change: Change


class Report(msgspec.Struct, frozen=True):
    """All signatures of a document, in signing order."""

    signatures: tuple[SignatureReport, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict; a document without signatures is not valid."""
        found = {each.verdict for each in self.signatures}
        if not found or Verdict.INVALID in found:
            return Verdict.INVALID
        return Verdict.INDETERMINATE if Verdict.INDETERMINATE in found else Verdict.VALID


MEANINGS: Final = {
    "NO_CERTIFICATE_CHAIN_FOUND": "no chain leads from the signer's certificate to a trusted root",
    "CERTIFICATE_CHAIN_GENERAL_FAILURE": (
        "the chain to the trusted root does not hold, or the status of an authority's certificate is missing or "
        "too old; judge online"
    ),
    "CHAIN_CONSTRAINTS_FAILURE": "a certificate in the chain is not meant for this use",
    "SIG_CONSTRAINTS_FAILURE": "the signature lacks something that is required",
    "OUT_OF_BOUNDS_NO_POE": "the signer's certificate is over, and nothing proves that the signature is older",
    "OUT_OF_BOUNDS_NOT_REVOKED": "the signer's certificate is over, and nothing proves that the signature is older",
    "NO_POE": "nothing proves that the signature existed while its certificates were good",
    "TRY_LATER": "the status of a certificate is missing or too old; judge online",
    "REVOKED": "the signer's certificate was revoked",
    "REVOKED_NO_POE": "the signer's certificate was revoked, and nothing proves that the signature is older",
    "REVOKED_CA_NO_POE": "an authority's certificate was revoked, and nothing proves that the signature is older",
    "REVOCATION_OUT_OF_BOUNDS_NO_POE": "the status of a certificate is too old to rely on; judge online",
    "CRYPTO_CONSTRAINTS_FAILURE": "an algorithm used is not accepted",
    "CRYPTO_CONSTRAINTS_FAILURE_NO_POE": "an algorithm used is no longer accepted",
    "HASH_FAILURE": "what was signed is not what is there now",
    "SIG_CRYPTO_FAILURE": "the signature does not fit the signer's certificate",
    "FORMAT_FAILURE": "the signature is not built as one",
    "EXPIRED": "the signature was made after the signer's certificate was over",
    "NOT_YET_VALID": "the signature was made before the signer's certificate was good",
    "TIMESTAMP_ORDER_FAILURE": "the time-stamps are not in order",
}


def meaning(indication: str, change: Change, detail: str | None) -> str:
    """Return in a sentence why a signature is not valid, with the judge's own detail if there is one."""
    if change in (Change.CONTENT, Change.NOT_ALLOWED):
        return change.value
    sentence = MEANINGS.get(indication, "the signature could not be judged")
    return f"{sentence} ({detail})" if detail else sentence


def visible(line: str) -> str:
    """Return a line with everything escaped that a terminal would obey or not show: controls, bidi, line breaks."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


def as_json(report: Report) -> bytes:
    """Return the report as JSON, the verdict over all signatures first."""
    return msgspec.json.format(msgspec.json.encode({"verdict": report.verdict, "signatures": report.signatures}))


def as_text(report: Report) -> str:
    """Return the report for a person, a few lines for each signature."""
    if not report.signatures:
        return "The document has no signature."
    return "\n\n".join("\n".join(map(visible, _lines(each))) for each in report.signatures)


def _lines(found: SignatureReport) -> Iterator[str]:
    yield f"{found.field}: {found.verdict.value}" + (f" - {found.reason}" if found.reason else "")
    yield f"  signed by   {found.signer}"
    yield f"  subject     {found.subject}"
    if found.stated_reason:
        yield f"  reason      {found.stated_reason}"
    if found.trusted_time is not None:
        yield f"  signed at   {_moment(found.trusted_time)} (proved by time-stamp)"
    elif found.claimed_time is not None:
        yield f"  signed at   {_moment(found.claimed_time)} (claimed only)"
    else:
        yield "  signed at   not known"
    yield f"  chain       {' < '.join(found.chain)}"
    for each in found.time_stamps:
        yield f"  time-stamp  {_moment(each.time)} on the {each.kind}, by {each.by}"
    held = found.evidence
    if held == Evidence():
        yield "  evidence    none embedded"
    else:
        signer = "with" if held.signer_status else "without"
        yield (
            f"  evidence    {held.ocsp_responses} OCSP responses ({signer} the signer's), {held.crls} CRLs, "
            f"{held.certificates} certificates"
        )
    yield f"  level       PAdES {found.level}"
    yield f"  document    {found.change.value}"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z")
