"""Our own rules for what is about to be signed: fast enough to run on every issuance, each with a name.

What depends on profile and issuer alone is looked at once (`check_profile`), the rest for each certificate (`check`),
revocation list (`check_list`) and OCSP responder (`check_responder`).
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from enum import IntEnum

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ExtensionOID, NameOID

from intaglio.errors import RuleBroken
from intaglio.pki import naming
from intaglio.pki.der import elements, object_identifier
from intaglio.pki.extensions import QC_COMPLIANCE, QC_DEVICE, QC_STATEMENTS, QC_TYPE, is_reserved
from intaglio.pki.name import DistinguishedName
from intaglio.pki.profiles import (
    ADOBE_ARCHIVE,
    ADOBE_TIME_STAMP,
    DOCUMENT_SIGNING,
    NEVER_OF_SIGNERS,
    NO_REVOCATION,
    PROFILES,
    USAGES,
    Profile,
)
from intaglio.pki.publication import Extension
from intaglio.pki.subject import ATTRIBUTES


class Accreditation(IntEnum):
    """What an issuing CA is accredited for: nothing, qualified certificates, those of qualified devices too."""

    NONE = 0
    QUALIFIED = 1
    QUALIFIED_DEVICE = 2


# EN 319 411-2 §5.3: QCP-n, QCP-l, and so on.
QUALIFIED_POLICIES = "0.4.0.194112.1."
# The same, below the service's own arc.
_QUALIFIED = frozenset(one.policy for one in PROFILES.values() if one.qualified)
_COMPLIANCE, _DEVICE, _TYPE = map(object_identifier, (QC_COMPLIANCE, QC_DEVICE, QC_TYPE))
_FIELDS = {object_identifier(oid.dotted_string): field for field, (oid, _) in ATTRIBUTES.items()}
# Clocks of two nodes differ, and status is told in whole seconds: no revocation is held back for that.
_SKEW = timedelta(minutes=1)
# What is made of a request's own branches.
_BESIDE = frozenset(
    {
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES,
        ExtensionOID.MS_CERTIFICATE_TEMPLATE,
    }
)
_TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
# RFC 9608 §3: what would send somebody to ask for a status that there is not.
_STATUS = frozenset({ExtensionOID.CRL_DISTRIBUTION_POINTS, ExtensionOID.FRESHEST_CRL})
# RFC 5280 §4.2, EN 319 412-5 §4.1, Adobe: marked critical, these keep others from accepting the certificate.
_NEVER_CRITICAL = frozenset(
    {
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES,
        NO_REVOCATION.oid,
        QC_STATEMENTS,
        ADOBE_TIME_STAMP,
        ADOBE_ARCHIVE.oid,
    }
)


# Profiles ----------------------------------------------------------------------------------------


def check_profile(profile: Profile, extensions: Sequence[Extension], issuer: x509.Name) -> None:
    """Raise `RuleBroken` with the first rule that every certificate of a profile by `issuer` would break."""
    oids = {extension.oid for extension in extensions}
    purposes = profile.extended_key_usage
    if _TIME_STAMPING in purposes and (len(purposes) != 1 or not profile.extended_key_usage_critical):
        raise RuleBroken("purposes.time-stamping", "must be critical and alone (RFC 3161 §2.3)")
    if profile.holder is not None and not DOCUMENT_SIGNING.intersection(purposes):
        raise RuleBroken("purposes.documents", "extendedKeyUsage: none for signing documents")
    if profile.holder is not None and NEVER_OF_SIGNERS.intersection((*purposes, *profile.extended_key_usage_allowed)):
        raise RuleBroken("purposes.reserved", "extendedKeyUsage: a purpose that no signer has")
    says = any(oid.startswith(QUALIFIED_POLICIES) for oid in profile.policies) or profile.policy in _QUALIFIED
    if says and not profile.qualified:
        raise RuleBroken("qc.policy", "a policy of qualified certificates without the statement that it is one")
    if any(extension.critical and extension.oid in _NEVER_CRITICAL for extension in extensions):
        raise RuleBroken("extensions.critical", "one is critical that must not be")
    if NO_REVOCATION.oid in oids:
        _check_no_revocation(profile, extensions)
    if profile.holder is not None and profile.status == profile.no_revocation:
        raise RuleBroken("revocation.either", "either a status can be asked for, or noRevAvail says that none can be")
    if profile.naming is not None and not issuer.get_attributes_for_oid(NameOID.COUNTRY_NAME):
        raise RuleBroken("issuer.country", "the issuing CA's name has no country (EN 319 412-2 §4.2.3.1)")
    _check_declared(profile, extensions)


def _check_no_revocation(profile: Profile, extensions: Sequence[Extension]) -> None:
    asks = any(
        one.access_method == AuthorityInformationAccessOID.OCSP
        for extension in extensions
        if isinstance(extension.value, x509.AuthorityInformationAccess)
        for one in extension.value
    )
    if asks or profile.is_ca or _STATUS.intersection(extension.oid for extension in extensions):
        raise RuleBroken("revocation.none", "noRevAvail stands beside OCSP, a CRL or cA (RFC 9608 §3)")
    if not profile.short_term:
        raise RuleBroken("revocation.none", "noRevAvail is for short-term certificates (EN 319 412-1 §5.2)")


def _check_declared(profile: Profile, extensions: Sequence[Extension]) -> None:
    declared = profile.statements
    if declared is None:
        return
    if declared.legislation and not declared.compliance:
        raise RuleBroken("qc.legislation", "a legislation without the statement that the certificate is qualified")
    if declared.disclosure:
        held = next(one for one in extensions if one.oid == QC_STATEMENTS).value.public_bytes()
        if not any(elements(one)[0] == _DISCLOSURE for one in elements(held)):
            raise RuleBroken("qc.disclosure", "no disclosure statement is set: profiles.disclosures in the settings")
    if declared.type is not None and declared.type != _TYPE_OF.get(str(profile.holder)):
        raise RuleBroken("qc.type", "the type is not that of the profile's holder (EN 319 412-5 §4.2.3)")


_DISCLOSURE = object_identifier("0.4.0.1862.1.5")
_TYPE_OF = {"person": "0.4.0.1862.1.6.1", "seal": "0.4.0.1862.1.6.2"}


# Certificates ------------------------------------------------------------------------------------


def check(
    *,
    serial: int,
    subject: DistinguishedName,
    not_before: datetime,
    not_after: datetime,
    extensions: Sequence[Extension],
    profile: Profile,
    issuer: x509.Certificate | None,
    chosen: Sequence[Extension] = (),
    accredited: Accreditation = Accreditation.NONE,
) -> None:
    """Raise `RuleBroken` with the first rule broken.

    `chosen` are those of the extensions that are not the profile's own, and may differ from one certificate to another.
    """
    # RFC 5280 §4.1.2.2: positive, at most 20 octets; at least 64 bits of it random.
    if not 1 << 64 <= serial < 1 << 159:
        raise RuleBroken("serial.bits", "serial number: not between 64 and 159 bits")
    if not not_before < not_after <= not_before + profile.lifetime:
        raise RuleBroken("validity.length", "empty (is the issuer about to end?) or longer than the profile allows")
    if issuer is not None and not issuer.not_valid_before_utc <= not_before <= issuer.not_valid_after_utc:
        raise RuleBroken("validity.issuer", "begins outside the issuer's own")
    if subject.empty and not any(
        extension.critical and extension.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME for extension in extensions
    ):
        raise RuleBroken("subject.empty", "empty without a critical subjectAltName (RFC 5280 §4.1.2.6)")
    if len({extension.oid for extension in extensions}) != len(extensions):
        raise RuleBroken("extensions.twice", "one appears twice (RFC 5280 §4.2)")
    if profile.qualified:
        check_accredited(profile, accredited)
    if profile.naming is not None:
        _check_name(profile, subject)
    if chosen:
        _check_chosen(chosen, profile)


def check_accredited(profile: Profile, accredited: Accreditation) -> None:
    """Raise `RuleBroken` where a profile claims what its issuer is not accredited for."""
    if not profile.qualified:
        return
    declared = profile.statements
    needed = Accreditation.QUALIFIED_DEVICE if declared is not None and declared.device else Accreditation.QUALIFIED
    if accredited < needed:
        raise RuleBroken("qc.accreditation", "the issuing CA is not accredited for such qualified certificates")


def _check_name(profile: Profile, subject: DistinguishedName) -> None:
    # RDNSequence of sets of attributes, each with its type first (RFC 5280 §4.1.2.4)
    types = [elements(attribute)[0] for rdn in elements(subject.der) for attribute in elements(rdn)]
    present = {_FIELDS.get(one, "") for one in types}
    semantics = None if profile.statements is None else profile.statements.semantics
    if profile.naming is not None:
        for field, reason in naming.missing(profile.naming, semantics, present):
            raise RuleBroken("subject.naming", f"{field} {reason}")


def _check_chosen(chosen: Sequence[Extension], profile: Profile) -> None:
    for extension in chosen:
        if extension.critical and extension.oid in _NEVER_CRITICAL:
            raise RuleBroken("extensions.critical", f"{extension.oid.dotted_string} must not be critical")
        if isinstance(extension.value, x509.KeyUsage):
            _check_usage(extension.value, profile)
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            _check_purposes(extension.value, profile)
        elif extension.oid in {ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE}:
            raise RuleBroken("extensions.opaque", "keyUsage or extendedKeyUsage that cannot be looked into")
        elif extension.oid == QC_STATEMENTS:
            _check_statements(extension.value.public_bytes(), profile)
        elif extension.oid not in _BESIDE and is_reserved(extension.oid.dotted_string):
            raise RuleBroken("extensions.reserved", f"{extension.oid.dotted_string} has a place of its own")


def _check_usage(usage: x509.KeyUsage, profile: Profile) -> None:
    named = {name for name in USAGES if getattr(usage, f"_{name}")}
    if not named or not named <= set(profile.key_usage_allowed):
        raise RuleBroken("usage.allowed", "keyUsage: none, or one that the profile does not allow")


def _check_purposes(purposes: x509.ExtendedKeyUsage, profile: Profile) -> None:
    named = {purpose.dotted_string for purpose in purposes}
    if named & NEVER_OF_SIGNERS:
        raise RuleBroken("purposes.reserved", "extendedKeyUsage: a purpose that no signer has")
    if not named <= set(profile.extended_key_usage_allowed):
        raise RuleBroken("purposes.allowed", "extendedKeyUsage: a purpose that the profile does not allow")
    if not named & DOCUMENT_SIGNING:
        raise RuleBroken("purposes.documents", "extendedKeyUsage: none for signing documents")


def _check_statements(encoded: bytes, profile: Profile) -> None:
    if not profile.qc_types:
        raise RuleBroken("qc.allowed", "qcStatements: the profile has none")
    types = {object_identifier(oid) for oid in profile.qc_types}
    statements = elements(encoded)
    if not statements:
        raise RuleBroken("qc.empty", "qcStatements: there is none in it")
    # Identifier, and what is said, if anything (RFC 3739 §3.2.6)
    for oid, *content in map(elements, statements):
        if oid in {_COMPLIANCE, _DEVICE}:
            raise RuleBroken("qc.accreditation", "not accredited: only a qualified profile says that it is")
        if oid == _TYPE and not (content and set(elements(content[0])) <= types):
            raise RuleBroken("qc.type", "qcStatements: the type is another than the profile's")


# Status ------------------------------------------------------------------------------------------


def check_list(
    *,
    issuer: x509.Certificate,
    number: int,
    this_update: datetime,
    next_update: datetime,
    entries: Collection[tuple[int, datetime, str | None]],
) -> None:
    """Raise `RuleBroken` for a revocation list; `entries` are serial number, time and reason (RFC 5280 §5)."""
    if not _usage(issuer, "crl_sign"):
        raise RuleBroken("crl.issuer", f"{issuer.subject.rfc4514_string()} may not sign CRLs")
    if this_update > issuer.not_valid_after_utc:
        raise RuleBroken("crl.issuer", "its issuer has ended")
    if not 0 < number < 1 << 159:
        raise RuleBroken("crl.number", "the number is not positive, or longer than 20 octets (RFC 5280 §5.2.3)")
    if next_update <= this_update:
        raise RuleBroken("crl.currency", "nextUpdate is not after thisUpdate")
    if len({serial for serial, _, _ in entries}) != len(entries):
        raise RuleBroken("crl.entries", "a serial number is there twice")
    if any(revoked_at > this_update + _SKEW for _, revoked_at, _ in entries):
        raise RuleBroken("crl.entries", "a certificate is revoked in the future")
    # A full list has nothing to be removed from (RFC 5280 §5.3.1).
    if any(reason == "removeFromCRL" for _, _, reason in entries):
        raise RuleBroken("crl.entries", "removeFromCRL is for delta lists")


def check_responder(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    """Raise `RuleBroken` for an OCSP responder that may not answer for `issuer` (RFC 6960 §4.2.2.2)."""
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        certificate.extensions.get_extension_for_class(x509.OCSPNoCheck)
    except x509.ExtensionNotFound as error:
        raise RuleBroken("ocsp.responder", "has no extendedKeyUsage, or no id-pkix-ocsp-nocheck") from error
    if ExtendedKeyUsageOID.OCSP_SIGNING not in purposes or certificate.issuer != issuer.subject:
        raise RuleBroken("ocsp.responder", "is not for OCSP, or not of the CA that it answers for")


def check_response(
    *,
    begins: datetime,
    ends: datetime,
    now: datetime,
    answers: Collection[tuple[datetime | None, datetime, datetime]],
) -> None:
    """Raise `RuleBroken` for a response; `begins` and `ends` bound the responder's certificate.

    `answers` are, of each certificate, since when it is revoked, thisUpdate and nextUpdate (RFC 6960 §4.2.2).
    """
    if not begins <= now <= ends:
        raise RuleBroken("ocsp.responder", "its certificate is not valid now")
    for revoked_at, this_update, next_update in answers:
        if next_update <= this_update:
            raise RuleBroken("ocsp.currency", "nextUpdate is not after thisUpdate")
        if revoked_at is not None and revoked_at > this_update + _SKEW:
            raise RuleBroken("ocsp.revoked", "a certificate is revoked in the future")


def _usage(certificate: x509.Certificate, usage: str) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return bool(getattr(found, usage))
