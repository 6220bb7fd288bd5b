"""Whether a certificate that was signed elsewhere is what its profile demands: no less, and no more."""

from collections.abc import Iterator
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from intaglio.errors import ContentRefused, IssuanceRefused
from intaglio.pki import lint, public_key
from intaglio.pki.name import named
from intaglio.pki.profiles import PROFILES
from intaglio.pki.publication import Publication

_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

Extension = x509.Extension[x509.ExtensionType]


def check(
    certificate: x509.Certificate,
    profile_name: str,
    *,
    issuer: x509.Certificate,
    issuer_name: str,
    places: Publication,
    test: bool,
    now: datetime,
) -> None:
    """Raise `ContentRefused` naming everything that is not as if `issuer` had issued it here.

    What it says of its status must be where this home answers: so the issuer must be known elsewhere by the same name.
    """
    profile = PROFILES[profile_name]
    faults = {**signature_faults(certificate, issuer), **_time_faults(certificate, now)}
    expected = [*profile.constant_extensions(places, test=test), *profile.published(places, issuer_name)]
    faults |= dict(_extension_faults(certificate, issuer, expected))
    try:
        lint.check(
            serial=certificate.serial_number,
            subject=named(certificate.subject),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            extensions=list(certificate.extensions),
            profile=profile,
            issuer=issuer,
        )
    except IssuanceRefused as error:
        faults.setdefault("certificate", str(error))
    _raise(faults)


def check_root(certificate: x509.Certificate, *, test: bool, now: datetime) -> None:
    """Raise `ContentRefused` naming what keeps a certificate from being a root; those of others may be plainer."""
    public_key.check(certificate.public_key(), "certificate")
    faults = {**signature_faults(certificate, certificate), **_time_faults(certificate, now)}
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        if not constraints.ca or constraints.path_length == 0:
            faults["basicConstraints"] = "it may not sign CAs"
        if not (usage.key_cert_sign and usage.crl_sign):
            faults["keyUsage"] = "must have keyCertSign and cRLSign"
    except (x509.ExtensionNotFound, ValueError) as error:
        faults["extensions"] = str(error)
    if test != ("TEST" in certificate.subject.rfc4514_string()):
        faults["subject"] = "must have TEST in it if, and only if, it is for the test hierarchy"
    _raise(faults)


def signature_faults(certificate: x509.Certificate, issuer: x509.Certificate) -> dict[str, str]:
    """Return what keeps `certificate` from being signed by `issuer`."""
    try:
        certificate.verify_directly_issued_by(issuer)
        if not isinstance(certificate.signature_hash_algorithm, _HASHES):
            return {"signature": "must be over SHA-256, SHA-384 or SHA-512"}
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return {"issuer": f"it is not signed by {issuer.subject.rfc4514_string()}"}
    return {}


def _time_faults(certificate: x509.Certificate, now: datetime) -> dict[str, str]:
    if certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return {}
    return {"validity": f"{certificate.not_valid_before_utc} to {certificate.not_valid_after_utc} is not now"}


def _extension_faults(
    certificate: x509.Certificate, issuer: x509.Certificate, expected: list[Extension]
) -> Iterator[tuple[str, str]]:
    try:
        found = {one.oid: one for one in certificate.extensions}
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        held = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        above = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        yield "extensions", str(error)
        return
    if authority.key_identifier != above.digest:
        yield "authorityKeyIdentifier", "is not that of its issuer"
    if held != x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()):
        yield "subjectKeyIdentifier", "is not the SHA-1 of the key (RFC 5280 §4.2.1.2 (1))"
    wanted = {one.oid: one for one in expected}
    for oid, one in wanted.items():
        if found.get(oid) != one:
            there = f"{found[oid].value} (critical: {found[oid].critical})" if oid in found else "nothing"
            yield _name(oid), f"must be {one.value} (critical: {one.critical}), there is {there}"
    known = {*wanted, x509.AuthorityKeyIdentifier.oid, x509.SubjectKeyIdentifier.oid}
    for oid in found.keys() - known:
        yield _name(oid), "does not belong to this kind of certificate"


def _name(oid: x509.ObjectIdentifier) -> str:
    name = oid._name  # noqa: SLF001 - pyca tells a name nowhere else
    return oid.dotted_string if name == "Unknown OID" else name


def _raise(faults: dict[str, str]) -> None:
    if faults:
        raise ContentRefused("The certificate is not what it must be here; nothing was changed.", faults)
