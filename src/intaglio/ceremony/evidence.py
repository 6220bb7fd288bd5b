"""Judging what came of a step by what its script says: by the run before it is recorded, by `verify` ever after.

Nothing here trusts the home or the machine: certificates, requests, CRLs and keys are looked at themselves.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from intaglio.ceremony import artefact, possession, steps
from intaglio.ceremony.entry import Found, KeyMade, Result
from intaglio.ceremony.script import Place
from intaglio.ceremony.steps import Step
from intaglio.errors import ContentRefused, IssuanceRefused
from intaglio.keys.algorithm import PublicKey, public_key_der
from intaglio.pki import hierarchy, lint
from intaglio.pki.name import named
from intaglio.pki.profiles import PROFILES
from intaglio.pki.publication import Publication
from intaglio.pki.signature import signature_hash

# notBefore and thisUpdate are whole seconds, cut off.
_SECOND = timedelta(seconds=1)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A step with everything that its result is judged by; `inputs` by field, `head` as the key signed it."""

    inputs: Mapping[str, bytes]
    result: Result
    begun_at: datetime
    completed_at: datetime
    head: bytes


class Known:
    """What is known of the hierarchy at a place in the ceremony: certificates by name, and keys requested for."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.publication = Publication(place.public_url, place.policy_arc)
        self.certificates: dict[str, x509.Certificate] = {}
        self.requested: dict[str, bytes] = {}

    def begin(self, found: Found) -> None:
        """Take the home as it was found; raises `ContentRefused` if it is not what the script expects."""
        faults: dict[str, str] = {}
        for field in ("organization", "country", "public_url", "policy_arc"):
            if getattr(found, field) != getattr(self.place, field):
                faults[f"home.{field}"] = f"is {getattr(found, field)!r}"
        for name, expected in self.place.authorities.items():
            der = found.authorities.get(name)
            if der is None:
                faults[f"home.authorities.{name}"] = "is not there"
            elif artefact.sha256(der) != expected:
                faults[f"home.authorities.{name}"] = f"is {artefact.sha256(der)}"
            else:
                self.certificates[name] = artefact.certificate(der)
        if found.authorities.keys() - self.place.authorities.keys():
            faults["home.authorities"] = "more than the script names"
        if faults:
            raise ContentRefused("The home is not as the script expects it.", faults)

    def subject(self, title: str) -> x509.Name:
        """Return the name that an authority of the home bears."""
        return hierarchy.subject(self.place.organization, title, self.place.country)

    def issuer(self, name: str) -> x509.Certificate:
        """Return the certificate of an authority; raises `ContentRefused` when none is known."""
        found = self.certificates.get(name)
        if found is None:
            raise _refused(f"the certificate of {name} is not known")
        return found


def judge(step: Step, done: Done, known: Known) -> None:  # noqa: C901 - one case for each action
    """Check the result of a step and add it to what is known; raises `RequestRefused` with the reason."""
    _only(step, done)
    match step:
        case steps.CreateHome():
            _home(done.result.home, known)
        case steps.CreateRoot():
            _root(step, done, known)
        case steps.RequestAuthority():
            _request(step, done, known)
        case steps.SignRequest():
            _signed(step, done, known)
        case steps.InstallCertificate():
            _installed(step, done, known)
        case steps.InstallRoot():
            certificate = artefact.certificate(done.inputs["certificate"])
            _self_signed(certificate)
            known.certificates[step.name] = certificate
        case steps.ImportCrl():
            _crl(artefact.crl(done.inputs["crl"]), known.issuer(step.name))
        case steps.Revoke():
            _revoked(step, done, known)
        case steps.PublishCrl():
            _fresh(_crl_of(done.result), known.issuer(step.issuer), done)
        case steps.Export():
            _exported(step, done, known)
        case steps.Activate() | steps.DestroyKey():
            known.issuer(step.name)


# What the result of each action holds, besides what its outputs are made of.
_ALSO: Mapping[type[Step], frozenset[str]] = {
    steps.CreateHome: frozenset({"home"}),
    steps.CreateRoot: frozenset({"key", "responder", "responder_key"}),
    steps.RequestAuthority: frozenset({"key"}),
    steps.InstallCertificate: frozenset({"key"}),
}


def _only(step: Step, done: Done) -> None:
    expected = {*step.outputs, *_ALSO.get(type(step), frozenset())}
    if isinstance(step, steps.InstallCertificate) and _is_ca(artefact.certificate(done.inputs["certificate"])):
        expected |= {"responder", "responder_key"}
    fields = ("certificate", "request", "crl", "key", "responder", "responder_key", "home")
    found = {field for field in fields if getattr(done.result, field) is not None}
    if found != expected:
        raise _refused(f"the result has {sorted(found)}, not {sorted(expected)}")


def _home(found: Found | None, known: Known) -> None:
    if found is None:
        raise _refused("no home was made")
    known.begin(found)


def _root(step: steps.CreateRoot, done: Done, known: Known) -> None:
    certificate = _certificate_of(done.result)
    _self_signed(certificate)
    key = artefact.key_of(certificate)
    _key(done.result.key, done, key, step.name, step.algorithm, hsm=step.hsm)
    subject = known.subject(step.title)
    _issued(certificate, None, key, "root", subject, step.name, done, known, test=step.test)
    _responder(step.name, certificate, done, known, hsm=step.hsm)
    known.certificates[step.name] = certificate


def _request(step: steps.RequestAuthority, done: Done, known: Known) -> None:
    request = artefact.request(done.result.request or b"")
    if request.subject != known.subject(step.title):
        raise _refused(f"the request is for {request.subject.rfc4514_string()}")
    key = artefact.key_of(request)
    _key(done.result.key, done, key, step.name, step.algorithm, hsm=step.hsm)
    known.requested[step.name] = public_key_der(key)


def _signed(step: steps.SignRequest, done: Done, known: Known) -> None:
    certificate = _certificate_of(done.result)
    request = artefact.request(done.inputs["request"])
    if artefact.key_of(certificate) != artefact.key_of(request):
        raise _refused("the certificate is for another key than the request")
    subject = known.subject(step.title)
    issuer = known.issuer(step.issuer)
    key = artefact.key_of(issuer)
    _issued(certificate, issuer, key, step.profile, subject, step.issuer, done, known, test=step.test)


def _installed(step: steps.InstallCertificate, done: Done, known: Known) -> None:
    certificate = artefact.certificate(done.inputs["certificate"])
    _directly_issued(certificate, known.issuer(step.issuer))
    key = artefact.key_of(certificate)
    _key(done.result.key, done, key, step.name, None, hsm=step.hsm)
    requested = known.requested.get(step.name)
    if requested is not None and requested != public_key_der(key):
        raise _refused("the certificate is for another key than the one requested")
    if _is_ca(certificate):
        _responder(step.name, certificate, done, known, hsm=step.hsm)
    known.certificates[step.name] = certificate


def _revoked(step: steps.Revoke, done: Done, known: Known) -> None:
    issuer = known.issuer(step.issuer)
    certificate = artefact.certificate(done.inputs["certificate"])
    _directly_issued(certificate, issuer)
    crl = _crl_of(done.result)
    _fresh(crl, issuer, done)
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is None:
        raise _refused("the CRL does not hold the revoked certificate")
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except x509.ExtensionNotFound:
        reason = "unspecified"
    if reason != step.reason:
        raise _refused(f"the CRL gives the reason {reason}")
    if not done.begun_at - _SECOND <= entry.revocation_date_utc <= done.completed_at:
        raise _refused("the certificate was not revoked in this step")


def _exported(step: steps.Export, done: Done, known: Known) -> None:
    if step.certificate is not None and _certificate_of(done.result) != known.issuer(step.name):
        raise _refused(f"the certificate is not that of {step.name}")
    if step.crl is not None:
        _crl(_crl_of(done.result), known.issuer(step.name))


def _certificate_of(result: Result) -> x509.Certificate:
    return artefact.certificate(result.certificate or b"")


def _crl_of(result: Result) -> x509.CertificateRevocationList:
    return artefact.crl(result.crl or b"")


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _responder(name: str, authority: x509.Certificate, done: Done, known: Known, *, hsm: bool) -> None:
    """Check the OCSP responder that a CA came with."""
    certificate = artefact.certificate(done.result.responder or b"")
    key = artefact.key_of(certificate)
    _key(done.result.responder_key, done, key, f"{name}-ocsp", None, hsm=hsm)
    called = x509.Name(
        x509.NameAttribute(one.oid, f"{one.value!s} OCSP Responder") if one.oid == NameOID.COMMON_NAME else one
        for one in authority.subject
    )
    _issued(certificate, authority, artefact.key_of(authority), "ocsp", called, name, done, known, test=False)


def _key(made: KeyMade | None, done: Done, key: PublicKey, name: str, algorithm: str | None, *, hsm: bool) -> None:
    if made is None or made.name != name:
        raise _refused(f"no proof of the key of {name}")
    if algorithm is not None and made.algorithm != algorithm:
        raise _refused(f"the key is {made.algorithm}, not {algorithm}")
    possession.check(made, key, done.head, hsm=hsm)


def _self_signed(certificate: x509.Certificate) -> None:
    artefact.key_of(certificate)
    _directly_issued(certificate, certificate)


def _directly_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise _refused("the certificate is not signed by the issuer that the step names") from error


def _issued(
    certificate: x509.Certificate,
    issuer: x509.Certificate | None,
    issuer_key: PublicKey,
    profile_name: str,
    subject: x509.Name,
    issuer_name: str,
    done: Done,
    known: Known,
    *,
    test: bool,
) -> None:
    """Check a certificate that was issued in this step against its profile: names, time, each extension."""
    _directly_issued(certificate, issuer or certificate)
    if certificate.subject != subject:
        raise _refused(f"the certificate is for {certificate.subject.rfc4514_string()}")
    hashed = certificate.signature_hash_algorithm
    if hashed is None or hashed.name != signature_hash(issuer_key).name:
        raise _refused("the certificate is signed over another hash than the issuer's")
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not done.begun_at - _SECOND <= begins <= done.completed_at:
        raise _refused("the certificate was not made in this step: its time begins before or after")
    if issuer is not None and ends > issuer.not_valid_after_utc:
        raise _refused("the certificate outlives its issuer")
    profile = PROFILES[profile_name]
    identifier = x509.SubjectKeyIdentifier.from_public_key(artefact.key_of(certificate))
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)
    expected = {
        *profile.constant_extensions(known.publication, test=test),
        x509.Extension(authority.oid, False, authority),
        *profile.published(known.publication, issuer_name),
        x509.Extension(identifier.oid, False, identifier),
    }
    if set(certificate.extensions) != expected or len(certificate.extensions) != len(expected):
        raise _refused(f"the extensions are not those of the profile {profile_name}")
    try:
        lint.check(
            serial=certificate.serial_number,
            subject=named(subject),
            not_before=begins,
            not_after=ends,
            extensions=list(certificate.extensions),
            profile=profile,
            issuer=issuer,
        )
    except IssuanceRefused as error:
        raise _refused(str(error)) from error


def _crl(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> None:
    if crl.issuer != issuer.subject or not crl.is_signature_valid(artefact.key_of(issuer)):
        raise _refused("the CRL is not signed by the authority that the step names")


def _fresh(crl: x509.CertificateRevocationList, issuer: x509.Certificate, done: Done) -> None:
    _crl(crl, issuer)
    if not done.begun_at - _SECOND <= crl.last_update_utc <= done.completed_at:
        raise _refused("the CRL was not made in this step")
    if crl.next_update_utc is None or crl.next_update_utc <= crl.last_update_utc:
        raise _refused("the CRL is current for no time")


def _refused(reason: str) -> ContentRefused:
    return ContentRefused(f"The result does not hold: {reason}.", {"result": reason})
