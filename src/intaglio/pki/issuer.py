"""Issuing certificates: `prepare` decides everything, `issue` only signs.

Between the two the caller makes the intention durable, so that every serial number that was ever
planned can be answered for.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID

from intaglio.errors import IssuanceRefused
from intaglio.keys.algorithm import PrivateKey, PublicKey, public_key_der
from intaglio.pki import lint
from intaglio.pki.der import content_of, element, integer, object_identifier, time
from intaglio.pki.name import DistinguishedName, named
from intaglio.pki.profiles import PROFILES, validity
from intaglio.pki.signature import algorithm_identifier, names, signing

# Version is v3 (RFC 5280 §4.1.2.1).
_VERSION_3 = bytes.fromhex("a003020102")

# Of these a profile has what a certificate has if nothing is said.
_REPLACEABLE = frozenset({ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE})

Extensions = Sequence[tuple[x509.ExtensionType, bool]]


class Prepared(msgspec.Struct, frozen=True):
    """A certificate with everything decided and nothing signed; `public_key` is a SubjectPublicKeyInfo, DER."""

    issuer: str
    profile: str
    serial: int
    subject: DistinguishedName
    public_key: bytes
    not_before: datetime
    not_after: datetime
    # As they are certified: what depends on issuer and profile alone; from the place `own`, the certificate's own.
    extensions: list[x509.Extension[x509.ExtensionType]]
    own: int


class Publication(msgspec.Struct, frozen=True):
    """What certificates say of their issuer: the public listener's `url`, and the operator's arc of policy OIDs."""

    url: str
    policy_arc: str = "1.3.6.1.4.1.32473"

    def extensions(self, issuer: str) -> list[x509.Extension[x509.ExtensionType]]:
        """Return AIA (OCSP, caIssuers) and CRLDP for certificates of `issuer`."""
        access = x509.AuthorityInformationAccess(
            [
                _access(AuthorityInformationAccessOID.OCSP, f"{self.url}/ocsp"),
                _access(AuthorityInformationAccessOID.CA_ISSUERS, f"{self.url}/ca/{issuer}.crt"),
            ]
        )
        address = x509.UniformResourceIdentifier(f"{self.url}/crl/{issuer}.crl")
        points = x509.CRLDistributionPoints([x509.DistributionPoint([address], None, None, None)])
        return [x509.Extension(access.oid, False, access), x509.Extension(points.oid, False, points)]


def _access(method: x509.ObjectIdentifier, url: str) -> x509.AccessDescription:
    return x509.AccessDescription(method, x509.UniformResourceIdentifier(url))


def _encoded(extension: x509.Extension[x509.ExtensionType]) -> bytes:
    """Return an Extension, DER (RFC 5280 §4.1.2.9); that it is not critical is the default, and left out."""
    critical = b"\x01\x01\xff" if extension.critical else b""
    identifier = object_identifier(extension.oid.dotted_string)
    value = extension.value
    # What is DER already is not handed through the library's writer.
    content = value.value if isinstance(value, x509.UnrecognizedExtension) else value.public_bytes()
    return element(0x30, identifier, critical, element(0x04, content))


def new_serials(now: datetime, number: int) -> list[int]:
    """Return positive serial numbers, 20 octets each, of which 110 bits are random (RFC 5280 §4.1.2.2), in order.

    The 48 bits before those are the time in milliseconds: what is issued together is together in the register's index.
    """
    head = (1 << 158) | (int(now.timestamp() * 1000) << 110)
    # Asked for once: asking lets go of the interpreter, and getting it back costs more than the random octets.
    drawn = secrets.token_bytes(14 * number)
    # Two of their 112 bits are left out.
    return sorted(head | int.from_bytes(drawn[place : place + 14]) >> 2 for place in range(0, len(drawn), 14))


def _key_identifier(public_key: bytes) -> x509.SubjectKeyIdentifier:
    """Return SHA-1 of the BIT STRING subjectPublicKey without its tag, length and unused bits (RFC 5280 §4.2.1.2)."""
    inside, _ = content_of(public_key)
    _, after_algorithm = content_of(public_key, inside)
    begin, end = content_of(public_key, after_algorithm)
    return x509.SubjectKeyIdentifier(hashlib.sha1(public_key[begin + 1 : end], usedforsecurity=False).digest())


class Issuer:
    """A certification authority that holds its key: `name` is how it is known in the hierarchy."""

    def __init__(
        self,
        name: str,
        certificate: x509.Certificate | None,
        key: PrivateKey,
        places: Publication,
        *,
        subject: x509.Name | None = None,
        test: bool = False,
    ) -> None:
        """Take an issuer's certificate, or the subject of one that is yet to sign itself."""
        found = subject if certificate is None else certificate.subject
        if found is None:
            raise IssuanceRefused(f"the issuer {name} has neither certificate nor subject")
        self.name = name
        self.certificate = certificate
        self.subject = found
        self.key = key
        self.test = test
        self._sign = signing(key)
        self.signs_with = names(key)
        self._name = found.public_bytes()
        self._algorithm = algorithm_identifier(key)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        authority = x509.Extension(identifier.oid, False, identifier)
        status = places.extensions(name)
        # What depends on issuer and profile alone is made and encoded once: issuing is a hot path.
        self._constant = {
            profile_name: [
                *profile.constant_extensions(places.policy_arc, test=test),
                authority,
                *(status if profile.status else []),
            ]
            for profile_name, profile in PROFILES.items()
        }
        self._encoded = {
            profile_name: b"".join(map(_encoded, extensions)) for profile_name, extensions in self._constant.items()
        }

    def prepare(
        self,
        profile_name: str,
        *,
        subject: x509.Name | DistinguishedName,
        public_key: PublicKey | bytes,
        now: datetime,
        extensions: Extensions = (),
        serial: int | None = None,
        lifetime: timedelta | None = None,
    ) -> Prepared:
        """Decide a certificate of `profile_name`, with a new serial number unless one is given that was reserved.

        The public key may be given as it is certified, DER. That it is one to certify is for the caller to check.
        keyUsage and extendedKeyUsage among `extensions` stand in the place of the profile's.
        Raises `IssuanceRefused` naming the rule that it breaks.
        """
        not_before, not_after = validity(PROFILES[profile_name], now, lifetime)
        if self.certificate is not None:
            not_after = min(not_after, self.certificate.not_valid_after_utc)
        certified = public_key if isinstance(public_key, bytes) else public_key_der(public_key)
        identifier = _key_identifier(certified)
        name = named(subject) if isinstance(subject, x509.Name) else subject
        constant = self._constant[profile_name]
        chosen = [x509.Extension(value.oid, critical, value) for value, critical in extensions]
        replaced = _REPLACEABLE.intersection(one.oid for one in chosen) if chosen else frozenset()
        if replaced:
            constant = [one for one in constant if one.oid not in replaced]
        prepared = Prepared(
            issuer=self.name,
            profile=profile_name,
            serial=new_serials(now, 1)[0] if serial is None else serial,
            subject=name,
            public_key=certified,
            not_before=not_before,
            not_after=not_after,
            extensions=[*constant, x509.Extension(identifier.oid, False, identifier), *chosen],
            own=len(constant),
        )
        lint.check(
            serial=prepared.serial,
            subject=name,
            not_before=not_before,
            not_after=not_after,
            extensions=prepared.extensions,
            profile=PROFILES[profile_name],
            issuer=self.certificate,
            chosen=chosen,
        )
        return prepared

    def issue(self, prepared: Prepared) -> x509.Certificate:
        """Sign what was prepared; called once for each."""
        return x509.load_der_x509_certificate(self.sign(prepared))

    def sign(self, prepared: Prepared) -> bytes:
        """Sign what was prepared and return the certificate, DER (RFC 5280 §4.1); called once for each."""
        if prepared.issuer != self.name:
            raise IssuanceRefused(f"{self.name} was asked to sign what {prepared.issuer} prepared")
        constant = self._encoded[prepared.profile]
        if prepared.own != len(self._constant[prepared.profile]):
            constant = b"".join(map(_encoded, prepared.extensions[: prepared.own]))
        to_be_signed = element(
            0x30,
            _VERSION_3,
            integer(prepared.serial),
            self._algorithm,
            self._name,
            element(0x30, time(prepared.not_before), time(prepared.not_after)),
            prepared.subject.der,
            prepared.public_key,
            element(0xA3, element(0x30, constant, *map(_encoded, prepared.extensions[prepared.own :]))),
        )
        return element(0x30, to_be_signed, self._algorithm, element(0x03, b"\x00", self._sign(to_be_signed)))
