"""ASN.1 structures that requests of several protocols share (RFC 5280), read strictly as DER."""

from typing import Annotated

from cryptography import x509
from cryptography.hazmat import asn1


@asn1.sequence
class AlgorithmIdentifier:
    """RFC 5280 §4.1.1.2; hash algorithms have NULL or nothing as parameters."""

    algorithm: x509.ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class Extension:
    """RFC 5280 §4.1."""

    extn_id: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(value=False)]
    extn_value: bytes
