"""Our own rules for what is about to be signed: fast enough to run on every issuance."""

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from intaglio.errors import IssuanceRefused
from intaglio.pki.der import elements, object_identifier
from intaglio.pki.extensions import QC_COMPLIANCE, QC_DEVICE, QC_STATEMENTS, QC_TYPE, is_reserved
from intaglio.pki.name import DistinguishedName
from intaglio.pki.profiles import DOCUMENT_SIGNING, USAGES, Profile

_COMPLIANCE, _DEVICE, _TYPE = map(object_identifier, (QC_COMPLIANCE, QC_DEVICE, QC_TYPE))
# What is made of a request's own branches.
_BESIDE = frozenset(
    {
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES,
        ExtensionOID.MS_CERTIFICATE_TEMPLATE,
    }
)
_TIME_STAMPING = "1.3.6.1.5.5.7.3.8"


def check(
    *,
    serial: int,
    subject: DistinguishedName,
    not_before: datetime,
    not_after: datetime,
    extensions: Sequence[x509.Extension[x509.ExtensionType]],
    profile: Profile,
    issuer: x509.Certificate | None,
    chosen: Sequence[x509.Extension[x509.ExtensionType]] = (),
) -> None:
    """Raise `IssuanceRefused` with the first rule broken.

    `chosen` are those of the extensions that are not the profile's own, and may differ from one certificate to another.
    """
    # RFC 5280 §4.1.2.2: positive, at most 20 octets; at least 64 bits of it random.
    if not 1 << 64 <= serial < 1 << 159:
        raise IssuanceRefused("serial number: not between 64 and 159 bits")
    if not not_before < not_after <= not_before + profile.lifetime:
        raise IssuanceRefused("validity: empty (is the issuer about to end?) or longer than the profile allows")
    if issuer is not None and not issuer.not_valid_before_utc <= not_before <= issuer.not_valid_after_utc:
        raise IssuanceRefused("validity: begins outside the issuer's own")
    if subject.empty and not any(
        extension.critical and extension.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME for extension in extensions
    ):
        raise IssuanceRefused("subject: empty without a critical subjectAltName (RFC 5280 §4.1.2.6)")
    purposes = profile.extended_key_usage
    if _TIME_STAMPING in purposes and (len(purposes) != 1 or not profile.extended_key_usage_critical):
        raise IssuanceRefused("extendedKeyUsage: timeStamping must be critical and alone (RFC 3161 §2.3)")
    if len({extension.oid for extension in extensions}) != len(extensions):
        raise IssuanceRefused("extensions: one appears twice (RFC 5280 §4.2)")
    _check_chosen(chosen, profile)


def _check_chosen(chosen: Sequence[x509.Extension[x509.ExtensionType]], profile: Profile) -> None:
    for extension in chosen:
        if isinstance(extension.value, x509.KeyUsage):
            _check_usage(extension.value, profile)
        elif isinstance(extension.value, x509.ExtendedKeyUsage):
            _check_purposes(extension.value, profile)
        elif extension.oid in {ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE}:
            raise IssuanceRefused("extensions: keyUsage or extendedKeyUsage that cannot be looked into")
        elif extension.oid == QC_STATEMENTS:
            _check_statements(extension.value.public_bytes(), profile)
        elif extension.oid not in _BESIDE and is_reserved(extension.oid.dotted_string):
            raise IssuanceRefused(f"extensions: {extension.oid.dotted_string} has a place of its own")


def _check_usage(usage: x509.KeyUsage, profile: Profile) -> None:
    named = {name for name in USAGES if getattr(usage, f"_{name}")}
    if not named or not named <= set(profile.key_usage_allowed):
        raise IssuanceRefused("keyUsage: none, or one that the profile does not allow")


def _check_purposes(purposes: x509.ExtendedKeyUsage, profile: Profile) -> None:
    named = {purpose.dotted_string for purpose in purposes}
    if not named <= set(profile.extended_key_usage_allowed):
        raise IssuanceRefused("extendedKeyUsage: a purpose that the profile does not allow")
    if not named & DOCUMENT_SIGNING:
        raise IssuanceRefused("extendedKeyUsage: none for signing documents")


def _check_statements(encoded: bytes, profile: Profile) -> None:
    if not profile.qc_types:
        raise IssuanceRefused("qcStatements: the profile has none")
    types = {object_identifier(oid) for oid in profile.qc_types}
    statements = elements(encoded)
    if not statements:
        raise IssuanceRefused("qcStatements: there is none in it")
    # Identifier, and what is said, if anything (RFC 3739 §3.2.6)
    for oid, *content in map(elements, statements):
        if oid in {_COMPLIANCE, _DEVICE}:
            raise IssuanceRefused("qcStatements: the issuing CA is not accredited for qualified certificates")
        if oid == _TYPE and not (content and set(elements(content[0])) <= types):
            raise IssuanceRefused("qcStatements: the type is another than the profile's")
