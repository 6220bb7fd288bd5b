"""Reading time-stamp tokens, our own and those of others, and checking that they hold (RFC 3161 §2.4.2, RFC 5816)."""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.errors import Malformed
from intaglio.pki.der import content_of, elements, is_element, object_identifier

_SIGNED_DATA = object_identifier("1.2.840.113549.1.7.2")
_TST_INFO = object_identifier("1.2.840.113549.1.9.16.1.4")
_CONTENT_TYPE = object_identifier("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = object_identifier("1.2.840.113549.1.9.4")
_SIGNING_CERTIFICATE = object_identifier("1.2.840.113549.1.9.16.2.12")
_SIGNING_CERTIFICATE_V2 = object_identifier("1.2.840.113549.1.9.16.2.47")
_SHA256, _SHA384, _SHA512 = (object_identifier(f"2.16.840.1.101.3.4.2.{arc}") for arc in (1, 2, 3))
_HASHES: dict[bytes, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    _SHA256: hashes.SHA256,
    _SHA384: hashes.SHA384,
    _SHA512: hashes.SHA512,
}
_TIME_STAMPING = x509.oid.ExtendedKeyUsageOID.TIME_STAMPING
_LONGEST_CHAIN = 8
# What pyca raises at certificates and signatures that are not built as such, or do not fit.
_UNFIT = (
    ValueError,
    TypeError,
    LookupError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
# Names of issuers stand deep in the attributes of a signer.
_DEEPEST = 32


class Token(msgspec.Struct, frozen=True):
    """What a token says, and by whom: `imprint` is a SHA-256, `certificates` are all that it has with it."""

    time: datetime
    serial: int
    imprint: bytes
    nonce: int | None
    signer: x509.Certificate
    certificates: list[x509.Certificate]


class _SignedData(msgspec.Struct, frozen=True):
    content: bytes
    certificates: list[x509.Certificate]
    signer_info: list[bytes]


def opened(encoded: bytes) -> Token:
    """Return a token, DER, whose signature holds by the certificate in it; raises `Malformed`.

    Whether that certificate is to be believed is for `check_chain`.
    """
    try:
        signed = _signed_data(encoded)
        signer = _check_signature(signed)
        return _read(signed, signer)
    except _UNFIT as error:
        reason = str(error) or "the signature does not fit"
        raise Malformed("The time-stamp does not hold.", {"stamp": reason}) from error


def check_chain(token: Token, trusted: Sequence[x509.Certificate]) -> None:
    """Raise `Malformed` unless the signer's certificate, valid when it stamped, leads to one that is trusted."""
    found, at = token.signer, token.time
    for _ in range(_LONGEST_CHAIN):
        if not found.not_valid_before_utc <= at <= found.not_valid_after_utc:
            raise Malformed("The time-stamp does not hold.", {"stamp": "a certificate was not valid then"})
        if found in trusted:
            return
        above = [one for one in (*trusted, *token.certificates) if one != found and _issued(one, found)]
        if not above:
            break
        found = above[0]
    raise Malformed("The time-stamp does not hold.", {"stamp": "its signer leads to no certificate that is trusted"})


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
        return issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except _UNFIT:
        return False


def _signed_data(encoded: bytes) -> _SignedData:
    if not is_element(encoded, _DEEPEST):
        raise ValueError("not DER")
    content_type, wrapped = elements(encoded)
    if content_type != _SIGNED_DATA:
        raise ValueError("not SignedData")
    _, _, encapsulated, *rest = elements(elements(wrapped)[0])
    kind, held = elements(encapsulated)
    if kind != _TST_INFO:
        raise ValueError("not TSTInfo")
    certificates = [x509.load_der_x509_certificate(one) for part in rest if part[0] == 0xA0 for one in elements(part)]
    (signer_info,) = elements(rest[-1])
    return _SignedData(_value(elements(held)[0]), certificates, elements(signer_info))


def _value(element: bytes) -> bytes:
    begin, end = content_of(element)
    return element[begin:end]


def _check_signature(signed: _SignedData) -> x509.Certificate:
    """Return the certificate of the signer, by which the signature holds."""
    _, sid, digest_algorithm, attributes, signature_algorithm, signature = signed.signer_info[:6]
    signer = next((one for one in signed.certificates if _is_of(one, sid)), None)
    if signer is None:
        raise ValueError("the certificate of its signer is not in it")
    usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    if not usage.critical or list(usage.value) != [_TIME_STAMPING]:
        raise ValueError("its signer is no time-stamping authority")
    told = {parts[0]: elements(parts[1])[0] for parts in map(elements, elements(attributes))}
    digest = _HASHES[elements(digest_algorithm)[0]]()
    if told[_CONTENT_TYPE] != _TST_INFO or _value(told[_MESSAGE_DIGEST]) != _hash(digest, signed.content):
        raise ValueError("its content was changed")
    _check_named(told, signer)
    # What is signed is the SET OF, which [0] stands in the place of (RFC 5652 §5.4).
    content = b"\x31" + attributes[1:]
    key = signer.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(_value(signature), content, padding.PKCS1v15(), digest)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        wanted = {2: hashes.SHA256(), 3: hashes.SHA384(), 4: hashes.SHA512()}[elements(signature_algorithm)[0][-1]]
        key.verify(_value(signature), content, ec.ECDSA(wanted))
    else:
        raise ValueError("its kind of key is not known here")  # noqa: TRY004 - of a file, not of a call
    return signer


def _is_of(certificate: x509.Certificate, sid: bytes) -> bool:
    """Return whether an IssuerAndSerialNumber is that of a certificate."""
    parts = elements(sid)
    serial = int.from_bytes(_value(parts[1]), signed=True)
    return parts[0] == certificate.issuer.public_bytes() and serial == certificate.serial_number


def _check_named(told: dict[bytes, bytes], signer: x509.Certificate) -> None:
    """Check that the signature is over the signer's certificate, too (RFC 5816 §2)."""
    der = signer.public_bytes(Encoding.DER)
    if _SIGNING_CERTIFICATE_V2 in told:
        parts = elements(elements(elements(told[_SIGNING_CERTIFICATE_V2])[0])[0])
        # The algorithm is left out where it is SHA-256 (RFC 5035 §3).
        digest = _HASHES[elements(parts.pop(0))[0]]() if parts[0][0] == 0x30 else hashes.SHA256()
        named, wanted = _value(parts[0]), _hash(digest, der)
    else:
        named = _value(elements(elements(elements(told[_SIGNING_CERTIFICATE])[0])[0])[0])
        wanted = hashlib.sha1(der, usedforsecurity=False).digest()  # RFC 2634 §5.4 knows no other
    if not hmac.compare_digest(named, wanted):
        raise ValueError("it was signed for another certificate")


def _hash(algorithm: hashes.HashAlgorithm, content: bytes) -> bytes:
    return hashlib.new(algorithm.name, content).digest()


def _read(signed: _SignedData, signer: x509.Certificate) -> Token:
    _, _, imprint, serial, time, *rest = elements(signed.content)
    algorithm, digest = elements(imprint)
    if elements(algorithm)[0] != _SHA256:
        raise ValueError("it is over another hash than SHA-256")
    nonces = [int.from_bytes(_value(one), signed=True) for one in rest if one[0] == 0x02]
    return Token(
        time=_time(_value(time).decode("ascii")),
        serial=int.from_bytes(_value(serial), signed=True),
        imprint=_value(digest),
        nonce=nonces[0] if nonces else None,
        signer=signer,
        certificates=signed.certificates,
    )


def _time(text: str) -> datetime:
    """Return GeneralizedTime as RFC 3161 §2.4.2 writes it: UTC, with a fraction or without."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    if not text.endswith("Z"):
        raise ValueError("its time is not UTC")
    moment = datetime.strptime(whole, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return moment.replace(microsecond=int(f"{fraction:0<6}"[:6]))
