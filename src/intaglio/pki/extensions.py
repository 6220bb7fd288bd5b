"""What an account may have certified beside names, and its form in X.509: purposes, statements, templates, and more."""

import re

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from intaglio.pki.der import element, integer, object_identifier

QC_STATEMENTS = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.3")
# Statements, ETSI EN 319 412-5 §4
QC_COMPLIANCE = "0.4.0.1862.1.1"
QC_RETENTION_PERIOD = "0.4.0.1862.1.3"
QC_DEVICE = "0.4.0.1862.1.4"
QC_DISCLOSURE = "0.4.0.1862.1.5"
QC_TYPE = "0.4.0.1862.1.6"
QC_LEGISLATION = "0.4.0.1862.1.7"
# RFC 3739 §3.2.6.1
_SYNTAX_V2 = "1.3.6.1.5.5.7.11.2"

# Extensions that have a place of their own, in a policy or a profile: id-ce and id-pe, what pyca knows, Microsoft's for
# certificates (application policies, templates, accounts), Netscape's, Adobe's, the mark of short-term certificates.
_RESERVED = frozenset(
    {oid.dotted_string for name, oid in vars(ExtensionOID).items() if name.isupper()} | {"0.4.0.194121.2.1"}
)
_RESERVED_ARCS = re.compile(
    r"\A(?:2\.5\.29\.[0-9]+\Z|1\.3\.6\.1\.5\.5\.7\.1\.[0-9]+\Z"
    r"|1\.3\.6\.1\.4\.1\.311\.|2\.16\.840\.1\.113730\.1\.|1\.2\.840\.113583\.1\.1\.9\.)"
)


def is_reserved(oid: str) -> bool:
    """Return whether an extension may not be an account's own: it would go around the rules of its place."""
    return oid in _RESERVED or _RESERVED_ARCS.match(oid) is not None


class Purposes(msgspec.Struct, frozen=True):
    """Extended key usages in place of the profile's, by object identifier."""

    oids: tuple[str, ...]
    critical: bool

    def extension(self) -> x509.ExtendedKeyUsage:
        """Return extendedKeyUsage (RFC 5280 §4.2.1.12)."""
        return x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in self.oids])


class Statements(msgspec.Struct, frozen=True):
    """Statements of a qualified certificate; `retention_years` and `disclosures` (language, URL) as in EN 319 412-5."""

    semantics: str | None = None
    name_authorities: tuple[str, ...] = ()
    compliance: bool = False
    device: bool = False
    type: str | None = None
    retention_years: int | None = None
    disclosures: tuple[tuple[str, str], ...] = ()
    legislation: tuple[str, ...] = ()

    def extension(self) -> x509.UnrecognizedExtension:
        """Return qcStatements (RFC 3739 §3.2.6, ETSI EN 319 412-5)."""
        found: list[bytes] = []
        if self.semantics is not None or self.name_authorities:
            found.append(_statement(_SYNTAX_V2, self._semantics()))
        if self.compliance:
            found.append(_statement(QC_COMPLIANCE))
        if self.retention_years is not None:
            found.append(_statement(QC_RETENTION_PERIOD, integer(self.retention_years)))
        if self.device:
            found.append(_statement(QC_DEVICE))
        if self.disclosures:
            places = (
                element(0x30, element(0x16, url.encode("ascii")), element(0x13, language.encode("ascii")))
                for language, url in self.disclosures
            )
            found.append(_statement(QC_DISCLOSURE, element(0x30, *places)))
        if self.type is not None:
            found.append(_statement(QC_TYPE, element(0x30, object_identifier(self.type))))
        if self.legislation:
            countries = (element(0x13, country.encode("ascii")) for country in self.legislation)
            found.append(_statement(QC_LEGISLATION, element(0x30, *countries)))
        return x509.UnrecognizedExtension(QC_STATEMENTS, element(0x30, *found))

    def _semantics(self) -> bytes:
        identifier = b"" if self.semantics is None else object_identifier(self.semantics)
        names = b"".join(map(_general_name, self.name_authorities))
        return element(0x30, identifier, element(0x30, names) if names else b"")


class Template(msgspec.Struct, frozen=True):
    """Microsoft's certificate template."""

    id: str
    major_version: int | None
    minor_version: int | None
    critical: bool

    def extension(self) -> x509.MSCertificateTemplate:
        """Return the template with its versions ([MS-WCCE] §2.2.2.7.7.2)."""
        return x509.MSCertificateTemplate(x509.ObjectIdentifier(self.id), self.major_version, self.minor_version)


class Custom(msgspec.Struct, frozen=True):
    """An extension of the account's own: `der` is what its OCTET STRING holds."""

    oid: str
    critical: bool
    der: bytes

    def extension(self) -> x509.UnrecognizedExtension:
        """Return the extension."""
        return x509.UnrecognizedExtension(x509.ObjectIdentifier(self.oid), self.der)


def _statement(oid: str, content: bytes = b"") -> bytes:
    return element(0x30, object_identifier(oid), content)


def _general_name(value: str) -> bytes:
    """Return an e-mail address, a URI or a host name as GeneralName (RFC 5280 §4.2.1.6)."""
    tag = 0x86 if ":" in value else 0x81 if "@" in value else 0x82
    return element(tag, value.encode("ascii"))
