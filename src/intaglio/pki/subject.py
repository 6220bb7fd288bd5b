"""What is certified of a signer, and its form in X.509: subject, directory attributes, alternative names."""

import ipaddress
from datetime import date

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from intaglio.pki.der import content_of, element, object_identifier
from intaglio.pki.name import IA5_STRING, PRINTABLE_STRING, UTF8_STRING, DistinguishedName, distinguished

# The order in which attributes stand in the subject: widest first, as directories are read.
ATTRIBUTES: dict[str, tuple[x509.ObjectIdentifier, int]] = {
    "country": (NameOID.COUNTRY_NAME, 2),
    "state": (NameOID.STATE_OR_PROVINCE_NAME, 128),
    "locality": (NameOID.LOCALITY_NAME, 128),
    "postal_code": (NameOID.POSTAL_CODE, 40),
    "street_address": (NameOID.STREET_ADDRESS, 128),
    "jurisdiction_of_incorporation_country_name": (NameOID.JURISDICTION_COUNTRY_NAME, 2),
    "jurisdiction_of_incorporation_state_or_province_name": (NameOID.JURISDICTION_STATE_OR_PROVINCE_NAME, 128),
    "jurisdiction_of_incorporation_locality_name": (NameOID.JURISDICTION_LOCALITY_NAME, 128),
    "business_category": (NameOID.BUSINESS_CATEGORY, 128),
    "organization": (NameOID.ORGANIZATION_NAME, 64),
    "organization_identifier": (NameOID.ORGANIZATION_IDENTIFIER, 64),
    "organizational_unit": (NameOID.ORGANIZATIONAL_UNIT_NAME, 64),
    "serial_number": (NameOID.SERIAL_NUMBER, 64),
    "surname": (NameOID.SURNAME, 64),
    "given_name": (NameOID.GIVEN_NAME, 64),
    "pseudonym": (NameOID.PSEUDONYM, 128),
    "common_name": (NameOID.COMMON_NAME, 64),
    "email": (NameOID.EMAIL_ADDRESS, 255),
}
# PrintableString and IA5String where RFC 5280 asks for them (Appendix A.1), else UTF8String.
_KINDS = {
    NameOID.COUNTRY_NAME: PRINTABLE_STRING,
    NameOID.JURISDICTION_COUNTRY_NAME: PRINTABLE_STRING,
    NameOID.SERIAL_NUMBER: PRINTABLE_STRING,
    NameOID.EMAIL_ADDRESS: IA5_STRING,
}
_WRITTEN = {field: (oid.dotted_string, _KINDS.get(oid, UTF8_STRING)) for field, (oid, _) in ATTRIBUTES.items()}
SMTP_UTF8_MAILBOX = "1.3.6.1.5.5.7.8.9"
COUNTRY_ATTRIBUTES = frozenset({"country", "jurisdiction_of_incorporation_country_name"})


class Typed(msgspec.Struct, frozen=True):
    """A value under an object identifier, already as DER."""

    oid: str
    der: bytes


class Subject(msgspec.Struct, frozen=True):
    """Attributes of the subject by name; organizational units are several; `extra` follows them."""

    attributes: dict[str, str]
    organizational_units: tuple[str, ...] = ()
    extra: tuple[Typed, ...] = ()


class SubjectDirectory(msgspec.Struct, frozen=True):
    """Subject directory attributes (RFC 3739 §3.2.2)."""

    gender: str | None = None
    date_of_birth: date | None = None
    place_of_birth: str | None = None
    country_of_citizenship: tuple[str, ...] = ()
    country_of_residence: tuple[str, ...] = ()
    extra: tuple[Typed, ...] = ()


class SubjectAlternatives(msgspec.Struct, frozen=True):
    """Alternative names (RFC 5280 §4.2.1.6)."""

    emails: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    other_names: tuple[Typed, ...] = ()


def name(subject: Subject) -> DistinguishedName:
    """Return the subject as a name, one attribute to each RDN, in the order of `ATTRIBUTES`."""
    attributes: list[tuple[str, int, str]] = []
    for field, (oid, kind) in _WRITTEN.items():
        if field in subject.attributes:
            attributes.append((oid, kind, subject.attributes[field]))
        elif field == "organizational_unit":
            attributes += [(oid, kind, value) for value in subject.organizational_units]
    for typed in subject.extra:
        begin, _ = content_of(typed.der)
        attributes.append((typed.oid, typed.der[0], typed.der[begin:].decode()))
    return distinguished(attributes)


# RFC 3739 §3.2.2, arcs below id-pda 1.3.6.1.5.5.7.9
_DATE_OF_BIRTH = bytes.fromhex("06082b06010505070901")
_PLACE_OF_BIRTH = bytes.fromhex("06082b06010505070902")
_GENDER = bytes.fromhex("06082b06010505070903")
_CITIZENSHIP = bytes.fromhex("06082b06010505070904")
_RESIDENCE = bytes.fromhex("06082b06010505070905")


def directory_attributes(directory: SubjectDirectory) -> x509.UnrecognizedExtension:
    """Return SubjectDirectoryAttributes (RFC 5280 §4.2.1.8); dateOfBirth is noon GMT of the day."""
    attributes: list[bytes] = []

    def add(oid: bytes, *values: bytes) -> None:
        attributes.append(element(0x30, oid, element(0x31, *sorted(values))))

    if directory.date_of_birth is not None:
        add(_DATE_OF_BIRTH, element(0x18, f"{directory.date_of_birth:%Y%m%d}120000Z".encode()))
    if directory.place_of_birth is not None:
        add(_PLACE_OF_BIRTH, element(0x0C, directory.place_of_birth.encode()))
    if directory.gender is not None:
        add(_GENDER, element(0x13, directory.gender.encode()))
    if directory.country_of_citizenship:
        add(_CITIZENSHIP, *(element(0x13, code.encode()) for code in directory.country_of_citizenship))
    if directory.country_of_residence:
        add(_RESIDENCE, *(element(0x13, code.encode()) for code in directory.country_of_residence))
    # X.501 §13.2: an attribute holds all the values of its type.
    for oid in dict.fromkeys(typed.oid for typed in directory.extra):
        add(object_identifier(oid), *(typed.der for typed in directory.extra if typed.oid == oid))
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.9"), element(0x30, *attributes))


def alternatives(san: SubjectAlternatives) -> x509.UnrecognizedExtension:
    """Return subjectAltName (RFC 5280 §4.2.1.6); written here because pyca reads every address once more."""
    names = [
        *(_mailbox(value) for value in san.emails),
        *(element(0x82, value.encode("ascii")) for value in san.dns_names),
        *(element(0x86, value.encode("ascii")) for value in san.uris),
        *(element(0x87, ipaddress.ip_address(value).packed) for value in san.ip_addresses),
        *(_other_name(value.oid, value.der) for value in san.other_names),
    ]
    return x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, element(0x30, *names))


def _mailbox(value: str) -> bytes:
    if value.isascii():
        return element(0x81, value.encode("ascii"))
    # SmtpUTF8Mailbox (RFC 9598 §3)
    return _other_name(SMTP_UTF8_MAILBOX, element(0x0C, value.encode()))


def _other_name(oid: str, value: bytes) -> bytes:
    return element(0xA0, object_identifier(oid), element(0xA0, value))
