"""Our own rules for what is about to be signed: fast enough to run on every issuance."""

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from intaglio.errors import IssuanceRefused
from intaglio.pki.profiles import Profile

_QC_STATEMENTS = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.3")
_TIME_STAMPING = "1.3.6.1.5.5.7.3.8"


def check(
    *,
    serial: int,
    subject: x509.Name,
    not_before: datetime,
    not_after: datetime,
    extensions: Sequence[x509.Extension[x509.ExtensionType]],
    profile: Profile,
    issuer: x509.Certificate | None,
) -> None:
    """Raise `IssuanceRefused` with the first rule broken."""
    # RFC 5280 §4.1.2.2: positive, at most 20 octets; at least 64 bits of it random.
    if not 1 << 64 <= serial < 1 << 159:
        raise IssuanceRefused("serial number: not between 64 and 159 bits")
    if not not_before < not_after <= not_before + profile.lifetime:
        raise IssuanceRefused("validity: empty (is the issuer about to end?) or longer than the profile allows")
    if issuer is not None and not issuer.not_valid_before_utc <= not_before <= issuer.not_valid_after_utc:
        raise IssuanceRefused("validity: begins outside the issuer's own")
    found = [extension.oid for extension in extensions]
    if len(set(found)) != len(found):
        raise IssuanceRefused("extensions: one appears twice (RFC 5280 §4.2)")
    if not subject.rdns and not any(
        extension.critical and extension.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME for extension in extensions
    ):
        raise IssuanceRefused("subject: empty without a critical subjectAltName (RFC 5280 §4.1.2.6)")
    if _QC_STATEMENTS in found:
        raise IssuanceRefused("qcStatements: no issuing CA of this service is accredited")
    purposes = profile.extended_key_usage
    if _TIME_STAMPING in purposes and (len(purposes) != 1 or not profile.extended_key_usage_critical):
        raise IssuanceRefused("extendedKeyUsage: timeStamping must be critical and alone (RFC 3161 §2.3)")
