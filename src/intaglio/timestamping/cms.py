"""Signed data with one signer (RFC 5652 §5), as a time-stamp token needs it (RFC 3161 §2.4.2, RFC 5816).

Everything that depends on the signer alone is encoded once; a token then costs one signature and little else.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from intaglio.keys.algorithm import PrivateKey
from intaglio.pki.der import element, integer, object_identifier, time
from intaglio.pki.signature import signature_hash, signing

_SIGNED_DATA = object_identifier("1.2.840.113549.1.7.2")
_CONTENT_TYPE = object_identifier("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = object_identifier("1.2.840.113549.1.9.4")
_SIGNING_TIME = object_identifier("1.2.840.113549.1.9.5")
_SIGNING_CERTIFICATE_V2 = object_identifier("1.2.840.113549.1.9.16.2.47")

_SHA256 = element(0x30, object_identifier("2.16.840.1.101.3.4.2.1"))
_SHA384 = element(0x30, object_identifier("2.16.840.1.101.3.4.2.2"))
_RSA = element(0x30, object_identifier("1.2.840.113549.1.1.1"), b"\x05\x00")
_ECDSA_SHA256 = element(0x30, object_identifier("1.2.840.10045.4.3.2"))
_ECDSA_SHA384 = element(0x30, object_identifier("1.2.840.10045.4.3.3"))


def _attribute(oid: bytes, value: bytes) -> bytes:
    return element(0x30, oid, element(0x31, value))


class Signer:
    """Signs content of one type with one key and certificate; safe to use from several threads at once."""

    def __init__(
        self, certificate: x509.Certificate, chain: Sequence[x509.Certificate], key: PrivateKey, content_type: str
    ) -> None:
        self._sign = signing(key)
        wide = isinstance(signature_hash(key), hashes.SHA384)
        self._digest = hashlib.sha384 if wide else hashlib.sha256
        self._digest_algorithm = _SHA384 if wide else _SHA256
        if isinstance(key, rsa.RSAPrivateKey):
            self._signature_algorithm = _RSA
        else:
            self._signature_algorithm = _ECDSA_SHA384 if wide else _ECDSA_SHA256
        issuer = certificate.issuer.public_bytes()
        serial = integer(certificate.serial_number)
        self._signer_identifier = element(0x30, issuer, serial)
        self._content_type = object_identifier(content_type)
        self._certificates = element(0xA0, *sorted(one.public_bytes(Encoding.DER) for one in (certificate, *chain)))
        self._fixed_attributes = (
            _attribute(_CONTENT_TYPE, self._content_type),
            _attribute(_SIGNING_CERTIFICATE_V2, _signing_certificate(certificate, issuer, serial)),
        )

    def sign(self, content: bytes, signing_time: datetime, *, with_certificates: bool) -> bytes:
        """Return a ContentInfo with SignedData version 3 over `content`, DER."""
        attributes = (
            *self._fixed_attributes,
            _attribute(_MESSAGE_DIGEST, element(0x04, self._digest(content).digest())),
            _attribute(_SIGNING_TIME, time(signing_time)),
        )
        # DER puts the members of a SET OF in order; what is signed is the SET, what is sent has tag [0] in its
        # place (RFC 5652 §5.4).
        body = b"".join(sorted(attributes))
        signer = element(
            0x30,
            b"\x02\x01\x01",
            self._signer_identifier,
            self._digest_algorithm,
            element(0xA0, body),
            self._signature_algorithm,
            element(0x04, self._sign(element(0x31, body))),
        )
        signed = element(
            0x30,
            # Version 3, since the content is not id-data (RFC 5652 §5.1).
            b"\x02\x01\x03",
            element(0x31, self._digest_algorithm),
            element(0x30, self._content_type, element(0xA0, element(0x04, content))),
            self._certificates if with_certificates else b"",
            element(0x31, signer),
        )
        return element(0x30, _SIGNED_DATA, element(0xA0, signed))


def _signing_certificate(certificate: x509.Certificate, issuer: bytes, serial: bytes) -> bytes:
    """Return SigningCertificateV2 (RFC 5035 §3); SHA-256 is the default and left out."""
    digest = element(0x04, hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest())
    issuer_serial = element(0x30, element(0x30, element(0xA4, issuer)), serial)
    return element(0x30, element(0x30, element(0x30, digest, issuer_serial)))
