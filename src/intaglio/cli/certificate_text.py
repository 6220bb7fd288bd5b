"""A certificate in words, for officers who decide what may be certified."""

from collections.abc import Iterator

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from intaglio.pki.der import content_of, elements, object_identifier
from intaglio.pki.profiles import USAGES

# UTF8String, PrintableString, IA5String, GeneralizedTime
_TEXTS = frozenset(b"\x0c\x13\x16\x18")
# What the issuer alone decides says nothing about a policy.
_OF_THE_ISSUER = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
    }
)
_DIRECTORY = "2.5.29.9"
_NAMES = {
    _DIRECTORY: "subjectDirectoryAttributes",
    "1.3.6.1.5.5.7.1.3": "qcStatements",
    "0.4.0.194121.2.1": "validityAssuredShortTerm",
    "1.3.6.1.5.5.7.3.36": "documentSigning",
    "1.2.840.113583.1.1.5": "Adobe Authentic Documents Trust",
    "1.3.6.1.4.1.311.10.3.12": "Microsoft document signing",
    "1.3.6.1.5.5.7.9.1": "dateOfBirth",
    "1.3.6.1.5.5.7.9.2": "placeOfBirth",
    "1.3.6.1.5.5.7.9.3": "gender",
    "1.3.6.1.5.5.7.9.4": "countryOfCitizenship",
    "1.3.6.1.5.5.7.9.5": "countryOfResidence",
}


def described(certificate: x509.Certificate) -> dict[str, str]:
    """Return subject, life and extensions, each in words or, where this knows none, as DER in hexadecimal digits."""
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    found = {"subject": certificate.subject.rfc4514_string(), "life": f"{life.total_seconds() + 1:.0f} s"}
    for extension in certificate.extensions:
        if extension.oid not in _OF_THE_ISSUER:
            found[_name(extension.oid)] = _value(extension.value) + (" (critical)" if extension.critical else "")
    return found


def _name(oid: x509.ObjectIdentifier) -> str:
    # pyca knows the names of what it knows, and has no public way to ask.
    known: str = oid._name  # noqa: SLF001
    return _NAMES.get(oid.dotted_string) or (oid.dotted_string if known == "Unknown OID" else known)


def _value(value: x509.ExtensionType) -> str:
    match value:
        case x509.KeyUsage():
            text = ", ".join(name for name in USAGES if getattr(value, f"_{name}"))
        case x509.ExtendedKeyUsage():
            text = ", ".join(map(_name, value))
        case x509.SubjectAlternativeName():
            text = ", ".join(f"{type(one).__name__} {one.value}" for one in value)
        case x509.CertificatePolicies():
            text = ", ".join(one.policy_identifier.dotted_string for one in value)
        case x509.MSCertificateTemplate():
            versions = [str(one) for one in (value.major_version, value.minor_version) if one is not None]
            text = " version ".join([value.template_id.dotted_string, ".".join(versions)]).removesuffix(" version ")
        case _ if value.oid.dotted_string == _DIRECTORY:
            text = ", ".join(_attributes(value.public_bytes()))
        case _:
            text = value.public_bytes().hex()
    return text


def _attributes(encoded: bytes) -> Iterator[str]:
    """Yield type and values of each of SubjectDirectoryAttributes (RFC 5280 §4.2.1.8)."""
    for attribute in elements(encoded):
        kind, values = elements(attribute)
        name = next((name for oid, name in _NAMES.items() if object_identifier(oid) == kind), kind.hex())
        yield f"{name} {' '.join(_text(value) for value in elements(values))}"


def _text(encoded: bytes) -> str:
    """Return a string or a time as it is, anything else as DER in hexadecimal digits."""
    content = encoded[content_of(encoded)[0] :]
    try:
        return content.decode() if encoded[0] in _TEXTS else encoded.hex()
    except UnicodeDecodeError:  # an account's own DER may hold anything
        return encoded.hex()
