"""The status of a certificate, asked for where the certificate itself says: OCSP (RFC 6960) and CRL (RFC 5280)."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from intaglio_client.errors import UnexpectedAnswer, Unreachable

TOLERANCE: Final = timedelta(seconds=5)
"""How far this computer's clock may be from the service's."""


def responders(certificate: x509.Certificate) -> list[str]:
    """Return the URLs of the OCSP responders that a certificate names."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return []
    return _urls(each.access_location for each in found if each.access_method == AuthorityInformationAccessOID.OCSP)


def lists(certificate: x509.Certificate) -> list[str]:
    """Return the URLs of the CRLs that a certificate names."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return []
    return _urls(name for point in found for name in point.full_name or ())


def ask(url: str, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime, timeout: float) -> datetime:
    """Ask a responder by POST; return thisUpdate, `timeout` is in seconds.

    Raises `UnexpectedAnswer` unless the answer says good, about this certificate, is current, and is signed by whom
    the issuer certified to; raises `Unreachable`.
    """
    request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256()).build()
    headers = {"Content-Type": "application/ocsp-request"}
    der = _fetched("POST", url, timeout, headers, request.public_bytes(Encoding.DER))
    try:
        answer = ocsp.load_der_ocsp_response(der)
    except ValueError as unreadable:
        raise UnexpectedAnswer(f"The answer of {url} is no OCSP response.") from unreadable
    if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise UnexpectedAnswer(f"The responder answers {answer.response_status.name.lower()}.")
    if answer.serial_number != certificate.serial_number:
        raise UnexpectedAnswer("The responder answers about another certificate.")
    if answer.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise UnexpectedAnswer(f"The responder says {answer.certificate_status.name.lower()}.")
    _signed(answer, issuer, now)
    this_update = answer.this_update_utc
    _current(this_update, answer.next_update_utc, now, "The OCSP response")
    if this_update < certificate.not_valid_before_utc:
        raise UnexpectedAnswer("The OCSP response is older than the certificate.")
    return this_update


def look(url: str, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime, timeout: float) -> datetime:
    """Fetch a CRL; return its nextUpdate, `timeout` is in seconds.

    Raises `UnexpectedAnswer` unless it is the issuer's, current, and without the certificate; raises `Unreachable`.
    """
    try:
        found = x509.load_der_x509_crl(_fetched("GET", url, timeout))
    except ValueError as unreadable:
        raise UnexpectedAnswer(f"The answer of {url} is no CRL.") from unreadable
    key = issuer.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or not found.is_signature_valid(key):
        raise UnexpectedAnswer("The CRL is not signed by the issuer.")
    ends = found.next_update_utc
    _current(found.last_update_utc, ends, now, "The CRL")
    if found.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        raise UnexpectedAnswer("The certificate is in the CRL.")
    return ends or now


def _urls(names: Iterable[x509.GeneralName]) -> list[str]:
    found = [each.value for each in names if isinstance(each, x509.UniformResourceIdentifier)]
    return [each for each in found if each.startswith(("http://", "https://"))]


def _fetched(
    method: str, url: str, timeout: float, headers: dict[str, str] | None = None, content: bytes | None = None
) -> bytes:
    try:
        answer = httpx.request(method, url, headers=headers, content=content, timeout=timeout)
    except (httpx.HTTPError, httpx.InvalidURL) as failure:
        raise Unreachable(f"No answer from {url}: {failure or type(failure).__name__}", sent=True) from failure
    if answer.status_code != 200:
        raise UnexpectedAnswer(f"{url} answers with HTTP status {answer.status_code}.")
    return answer.content


def _signed(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> None:
    """Check who signed: the issuer itself, or whom it certified for that (RFC 6960 §4.2.2.2)."""
    signer = answer.certificates[0] if answer.certificates else issuer
    try:
        if signer != issuer:
            signer.verify_directly_issued_by(issuer)
            purposes = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            if ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
                raise UnexpectedAnswer("The responder's certificate is not for signing OCSP responses.")
        _current(signer.not_valid_before_utc, signer.not_valid_after_utc, now, "The responder's certificate")
        key, algorithm = signer.public_key(), answer.signature_hash_algorithm
        if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            key.verify(answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(algorithm))
        else:
            raise UnexpectedAnswer("The responder signs with an algorithm that is not known here.")
    except x509.ExtensionNotFound as missing:
        raise UnexpectedAnswer("The responder's certificate is not for signing OCSP responses.") from missing
    except (InvalidSignature, ValueError, TypeError) as wrong:
        raise UnexpectedAnswer("The OCSP response is not signed by the issuer or its responder.") from wrong


def _current(begin: datetime, end: datetime | None, now: datetime, what: str) -> None:
    if begin > now + TOLERANCE:
        raise UnexpectedAnswer(f"{what} is from the future: {begin:%Y-%m-%d %H:%M:%S} UTC.")
    if end is None or end < now:
        raise UnexpectedAnswer(f"{what} is over since {end:%Y-%m-%d %H:%M:%S} UTC." if end else f"{what} has no end.")
