"""Sign PDFs with the service: PAdES B-B, B-T, B-LT and B-LTA (ETSI EN 319 142-1).

The document never leaves this process; the service sees SHA-256 digests. Everything that a
later judge needs (chain, OCSP responses, time-stamps) goes into the file.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from io import BytesIO
from typing import Any, Final

import msgspec
from asn1crypto import ocsp, x509
from cryptography import x509 as pyca_x509
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.sign import fields, signers
from pyhanko.sign.general import SigningError
from pyhanko.sign.signers.pdf_signer import (
    DSSContentSettings,
    SigDSSPlacementPreference,
    TimestampDSSContentSettings,
)
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.errors import PathError, ValidationError

from intaglio_client import session as calls
from intaglio_client.answers import Identity, Trustchain
from intaglio_client.client import Client
from intaglio_client.errors import NotFound, UnexpectedAnswer, Unusable
from intaglio_client.signer import Driver, ServiceSigner, ServiceTimeStamper, Threaded, asn1_certificates
from intaglio_client.stamp import NO_STAMP, Stamp, stamp_style, stamped_name

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far this computer's clock may be from the service's before signing is refused here."""


class Level(StrEnum):
    """The PAdES baseline levels (ETSI EN 319 142-1 §6)."""

    B_B = "B-B"
    B_T = "B-T"
    B_LT = "B-LT"
    B_LTA = "B-LTA"


class Signing(msgspec.Struct, frozen=True):
    """What a signature says and how much evidence it carries.

    `field` names the signature field: an empty one of the document is filled, otherwise one is
    made. Without a name, a stamped signature takes the first empty field. A document that others
    time-stamped already needs their roots (PEM) in `other_roots` for B-LTA.
    """

    level: Level = Level.B_LTA
    field: str | None = None
    reason: str | None = None
    location: str | None = None
    stamp: Stamp | None = None
    other_roots: tuple[str, ...] = ()
    allow_fetching: bool = False


def sign_pdf(
    client: Client, document: bytes, request: Mapping[str, Any] | None = None, signing: Signing | None = None
) -> bytes:
    """Return the signed document; for code without an event loop. See `sign_pdf_async`."""
    return asyncio.run(sign_pdf_async(Threaded(client), document, request, signing))


async def sign_pdf_async(
    driver: Driver,
    document: bytes,
    request: Mapping[str, Any] | None = None,
    signing: Signing | None = None,
    *,
    timestamper: ServiceTimeStamper | None = None,
) -> bytes:
    """Return the document with a signature added as an incremental update.

    1. Ask for the signer's identity (`request` as in `POST /identity`) and the chain of trust.
    2. Check both, and the time-stamping certificate, as a judge would.
    3. Sign; time-stamp the signature (from B-T); embed chain and status (from B-LT);
       time-stamp the document (B-LTA).

    An identity that the service no longer knows is replaced once. Raises `Unusable` for a
    document that cannot be signed, `UnexpectedAnswer` for evidence that does not hold, and
    the client's errors.
    """
    wanted = signing or Signing()
    stamper = timestamper or ServiceTimeStamper(driver)
    session = driver.session
    identity = await driver.drive(calls.identity(session, request))
    try:
        return await _signed(driver, document, identity, wanted, stamper)
    except NotFound:
        identity = await driver.drive(calls.identity(session, request, fresh=True))
        return await _signed(driver, document, identity, wanted, stamper)


async def _signed(
    driver: Driver, document: bytes, identity: Identity, signing: Signing, stamper: ServiceTimeStamper
) -> bytes:
    trustchain = await driver.drive(calls.trustchain(driver.session))
    signer = ServiceSigner(driver, identity, trustchain)
    # The time-stamping authority may be under another root than the signer's certificate.
    stamps = await stamper.async_roots() if signing.level is not Level.B_B else []
    try:
        writer = IncrementalPdfFileWriter(BytesIO(document), strict=False)
        if writer.prev.encrypted:
            raise Unusable("The document is encrypted; sign it before encrypting it.")
        empty = [name for name, _, _ in fields.enumerate_sig_fields(writer, filled_status=False)]
        taken = [name for name, _, _ in fields.enumerate_sig_fields(writer)]
        name = _field_name(signing, empty, taken)
        existing = name in empty
        output = await signers.PdfSigner(
            _metadata(signing, name, identity, trustchain, stamps),
            signer,
            timestamper=stamper if signing.level is not Level.B_B else None,
            stamp_style=stamp_style(signing.reason, signing.location) if signing.stamp else NO_STAMP,
            new_field_spec=None if existing else _new_field(name, signing.stamp),
        ).async_sign_pdf(
            writer,
            existing_fields_only=existing,
            appearance_text_params={"name": stamped_name(signer.subject_name or "")},
        )
    except (ValidationError, PathError) as refused:
        raise UnexpectedAnswer(f"The service's certificates or their status do not hold: {refused}") from refused
    except SigningError as refused:
        if isinstance(refused.__cause__, ValidationError | PathError):
            raise UnexpectedAnswer(f"{refused.msg}: {refused.__cause__}") from refused
        advice = " Give its authority's root as `other_roots`." if "recent timestamp" in refused.msg else ""
        raise Unusable(f"The document cannot be signed: {refused.msg}{advice}") from refused
    except PdfError as unreadable:
        raise Unusable(f"The document cannot be read as a PDF: {unreadable}") from unreadable
    signed: bytes = output.getvalue()
    return signed


def _metadata(
    signing: Signing, field: str, identity: Identity, trustchain: Trustchain, stamps: list[x509.Certificate]
) -> signers.PdfSignatureMetadata:
    return signers.PdfSignatureMetadata(
        field_name=field,
        md_algorithm="sha256",
        reason=signing.reason,
        location=signing.location,
        subfilter=fields.SigSeedSubFilter.PADES,
        embed_validation_info=signing.level in (Level.B_LT, Level.B_LTA),
        use_pades_lta=signing.level is Level.B_LTA,
        validation_context=_validation_context(signing, identity, trustchain, stamps),
        signer_key_usage={_key_usage(identity)},
        # Status and chain go in with the document time-stamp, which then covers its own
        # authority's status as well; VRI entries would need a revision after it.
        dss_settings=DSSContentSettings(
            include_vri=False,
            placement=SigDSSPlacementPreference.TOGETHER_WITH_NEXT_TS,
            next_ts_settings=TimestampDSSContentSettings(include_vri=False, update_before_ts=True),
        ),
    )


def _validation_context(
    signing: Signing, identity: Identity, trustchain: Trustchain, stamps: list[x509.Certificate]
) -> ValidationContext:
    chain = asn1_certificates(trustchain.certs)
    # For some minutes after a new issuing CA, there are two chains in one: an identity is of either.
    roots = [each for each in chain[:-1] if each.self_issued]
    status = [_ocsp_response(der) for der in (identity.ocsp_response, *trustchain.ocsp)]
    return ValidationContext(
        trust_roots=[chain[-1], *roots, *stamps, *asn1_certificates(signing.other_roots)],
        other_certs=chain,
        ocsps=status,
        allow_fetching=signing.allow_fetching,
        # Evidence is required where it is to be embedded: a file that lacks the status of one
        # of its certificates would be found out only by its reader.
        revocation_mode="hard-fail" if signing.level in (Level.B_LT, Level.B_LTA) else "none",
        time_tolerance=CLOCK_TOLERANCE,
    )


def _key_usage(identity: Identity) -> str:
    """Return the usage, in pyHanko's words, that makes the certificate one to sign documents with."""
    try:
        usage = identity.certificate.extensions.get_extension_for_class(pyca_x509.KeyUsage).value
    except pyca_x509.ExtensionNotFound:
        return "digital_signature"
    return "digital_signature" if usage.digital_signature else "non_repudiation"


def _field_name(signing: Signing, empty: list[str], taken: list[str]) -> str:
    if signing.field is not None:
        if signing.field in taken and signing.field not in empty:
            raise Unusable(f"The signature field {signing.field} is signed already.")
        return signing.field
    if signing.stamp is not None and empty:
        return empty[0]
    return next(name for number in range(1, len(taken) + 2) if (name := f"Signature{number}") not in taken)


def _new_field(name: str, stamp: Stamp | None) -> fields.SigFieldSpec:
    if stamp is None:
        return fields.SigFieldSpec(name)
    return fields.SigFieldSpec(name, on_page=stamp.page, box=stamp.box)


def _ocsp_response(der: bytes) -> ocsp.OCSPResponse:
    try:
        response = ocsp.OCSPResponse.load(der, strict=True)
        status = response["response_status"].native
    except (ValueError, KeyError) as unreadable:
        raise UnexpectedAnswer(f"An OCSP response cannot be read: {unreadable}") from unreadable
    if status != "successful":
        raise UnexpectedAnswer(f"An OCSP response says {status} instead of a status.")
    return response
