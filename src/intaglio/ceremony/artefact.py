"""Certificates, requests and CRLs as files: read as PEM or DER, written one way."""

import hashlib
from collections.abc import Mapping

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.ceremony.entry import Result
from intaglio.ceremony.steps import Step
from intaglio.errors import Malformed
from intaglio.keys.algorithm import PublicKey
from intaglio.pki import public_key

# What pyca raises, besides ValueError, for what nobody sane made.
UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)


def sha256(content: bytes) -> str:
    """Return SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def certificate(content: bytes) -> x509.Certificate:
    """Return the one certificate in a file; raises `Malformed`."""
    try:
        load = x509.load_pem_x509_certificates if _pem(content) else _from_der
        found = load(content)
        for one in found:
            # pyca reads these when they are first asked for; whoever asks later need not expect that they fail.
            _ = one.subject, one.issuer, one.extensions, one.signature_hash_algorithm, one.public_key()
    except UNREADABLE as error:
        raise Malformed("Not a certificate.", {"certificate": str(error)}) from error
    if len(found) != 1:
        raise Malformed("Not one certificate.", {"certificate": f"{len(found)} in one file"})
    return found[0]


def request(content: bytes) -> x509.CertificateSigningRequest:
    """Return a request (PKCS #10) signed by its own key; raises `Malformed`, or `WeakKey`."""
    try:
        load = x509.load_pem_x509_csr if _pem(content) else x509.load_der_x509_csr
        found = load(content)
        _ = found.subject, found.extensions, found.signature_hash_algorithm
        key = found.public_key()
    except UNREADABLE as error:
        raise Malformed("Not a certificate signing request.", {"request": str(error)}) from error
    public_key.check(key, "request")
    if not found.is_signature_valid:
        raise Malformed("The request is not signed by its own key.", {"request": "bad signature"})
    return found


def crl(content: bytes) -> x509.CertificateRevocationList:
    """Return a CRL; raises `Malformed`."""
    try:
        found = x509.load_pem_x509_crl(content) if _pem(content) else x509.load_der_x509_crl(content)
        _ = found.issuer, found.extensions, found.signature_hash_algorithm, found.next_update_utc
        for one in found:
            _ = one.extensions
    except UNREADABLE as error:
        raise Malformed("Not a certificate revocation list.", {"crl": str(error)}) from error
    return found


def key_of(found: x509.Certificate | x509.CertificateSigningRequest) -> PublicKey:
    """Return the public key; raises `WeakKey` for one that is never certified here."""
    return public_key.check(found.public_key(), "key")


def _from_der(content: bytes) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(content)]


def _pem(content: bytes) -> bool:
    return b"-----BEGIN " in content


def files(step: Step, result: Result) -> dict[str, bytes]:
    """Return what a step writes, by path; raises `Malformed` when its result lacks something."""
    return {path: _written(kind, result) for kind, path in step.outputs.items()}


def digests(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Return SHA-256 (hex) of each."""
    return {path: sha256(content) for path, content in contents.items()}


def _written(kind: str, result: Result) -> bytes:
    match kind:
        case "certificate" if result.certificate is not None:
            return certificate(result.certificate).public_bytes(Encoding.PEM)
        case "request" if result.request is not None:
            return request(result.request).public_bytes(Encoding.PEM)
        case "crl" if result.crl is not None:
            return crl(result.crl).public_bytes(Encoding.DER)
        case _:
            raise Malformed("The result lacks something.", {kind: "missing"})
