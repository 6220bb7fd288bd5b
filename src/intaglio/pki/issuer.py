"""Issuing certificates: `prepare` decides everything, `issue` only signs.

Between the two the caller makes the intention durable, so that every serial number that was ever
planned can be answered for.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from intaglio.errors import IssuanceRefused, RuleBroken
from intaglio.keys.algorithm import PrivateKey, PublicKey, public_key_der
from intaglio.pki import lint
from intaglio.pki.der import content_of, element, integer, object_identifier, time
from intaglio.pki.lint import Accreditation
from intaglio.pki.name import DistinguishedName, named
from intaglio.pki.profiles import PROFILES, Profile, validity
from intaglio.pki.publication import Publication
from intaglio.pki.signature import algorithm_identifier, names, signing

# Version is v3 (RFC 5280 §4.1.2.1).
_VERSION_3 = bytes.fromhex("a003020102")

# Of these a profile has what a certificate has if nothing is said.
_REPLACEABLE = frozenset({ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE})

Extension = x509.Extension[x509.ExtensionType]
Extensions = Sequence[tuple[x509.ExtensionType, bool]]


class Prepared(msgspec.Struct, frozen=True):
    """A certificate with everything decided and nothing signed; `public_key` is a SubjectPublicKeyInfo, DER."""

    issuer: str
    profile: str
    # Of the profile; 0 for those that the service has for itself.
    version: int
    serial: int
    subject: DistinguishedName
    public_key: bytes
    not_before: datetime
    not_after: datetime
    # As they are certified: what depends on issuer and profile alone; from the place `own`, the certificate's own.
    extensions: list[Extension]
    own: int


def _encoded(extension: Extension) -> bytes:
    """Return an Extension, DER (RFC 5280 §4.1.2.9); that it is not critical is the default, and left out."""
    critical = b"\x01\x01\xff" if extension.critical else b""
    identifier = object_identifier(extension.oid.dotted_string)
    value = extension.value
    # What is DER already is not handed through the library's writer.
    content = value.value if isinstance(value, x509.UnrecognizedExtension) else value.public_bytes()
    return element(0x30, identifier, critical, element(0x04, content))


def drawn_from(now: datetime) -> int:
    """Return the least serial number that is drawn at `now`, and not before it."""
    return (1 << 158) | (int(now.timestamp() * 1000) << 110)


def new_serials(now: datetime, number: int) -> list[int]:
    """Return positive serial numbers, 20 octets each, of which 110 bits are random (RFC 5280 §4.1.2.2), in order.

    The 48 bits before those are the time in milliseconds: what is issued together is together in the register's index.
    """
    head = drawn_from(now)
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
        refused: Callable[[str, RuleBroken], None] | None = None,
    ) -> None:
        """Take an issuer's certificate, or the subject of one that is yet to sign itself.

        `refused` is told of rules that `prepare` would break, and under which profile.
        """
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
        self._authority = x509.Extension(identifier.oid, False, identifier)
        self._places = places
        self._refused = refused
        self._constants: dict[tuple[str, int], tuple[list[Extension], bytes]] = {}

    def _constant(self, profile: Profile) -> tuple[list[Extension], bytes]:
        """Return what depends on issuer and profile alone; made, checked and encoded once: issuing is a hot path.

        Raises `RuleBroken` where no certificate of this issuer can be of this profile.
        """
        key = profile.name, profile.version
        found = self._constants.get(key)
        if found is None:
            extensions = [
                *profile.constant_extensions(self._places, test=self.test),
                self._authority,
                *profile.published(self._places, self.name),
            ]
            lint.check_profile(profile, extensions, self.subject)
            found = self._constants[key] = extensions, b"".join(map(_encoded, extensions))
        return found

    def prepare(
        self,
        profile: Profile | str,
        *,
        subject: x509.Name | DistinguishedName,
        public_key: PublicKey | bytes,
        now: datetime,
        extensions: Extensions = (),
        serial: int | None = None,
        lifetime: timedelta | None = None,
        accredited: Accreditation = Accreditation.NONE,
    ) -> Prepared:
        """Decide a certificate of a profile, or of the one of this name that comes with the service.

        It gets a new serial number unless one is given that was reserved.

        The public key may be given as it is certified, DER. That it is one to certify is for the caller to check.
        keyUsage and extendedKeyUsage among `extensions` stand in the place of the profile's.
        `accredited` is what this issuer is accredited for now. Raises `RuleBroken`, which names the rule.
        """
        found = PROFILES[profile] if isinstance(profile, str) else profile
        try:
            return self._decide(found, subject, public_key, now, extensions, serial, lifetime, accredited)
        except RuleBroken as error:
            if self._refused is not None:
                self._refused(found.name, error)
            raise

    def _decide(
        self,
        profile: Profile,
        subject: x509.Name | DistinguishedName,
        public_key: PublicKey | bytes,
        now: datetime,
        extensions: Extensions,
        serial: int | None,
        lifetime: timedelta | None,
        accredited: Accreditation,
    ) -> Prepared:
        not_before, not_after = validity(profile, now, lifetime)
        if self.certificate is not None:
            not_after = min(not_after, self.certificate.not_valid_after_utc)
        certified = public_key if isinstance(public_key, bytes) else public_key_der(public_key)
        identifier = _key_identifier(certified)
        name = named(subject) if isinstance(subject, x509.Name) else subject
        constant, _ = self._constant(profile)
        chosen = [x509.Extension(value.oid, critical, value) for value, critical in extensions]
        replaced = _REPLACEABLE.intersection(one.oid for one in chosen) if chosen else frozenset()
        if replaced:
            constant = [one for one in constant if one.oid not in replaced]
        prepared = Prepared(
            issuer=self.name,
            profile=profile.name,
            version=profile.version,
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
            profile=profile,
            issuer=self.certificate,
            chosen=chosen,
            accredited=Accreditation.NONE if self.test else accredited,
        )
        return prepared

    def issue(self, prepared: Prepared) -> x509.Certificate:
        """Sign what was prepared; called once for each."""
        return x509.load_der_x509_certificate(self.sign(prepared))

    def sign(self, prepared: Prepared) -> bytes:
        """Sign what was prepared and return the certificate, DER (RFC 5280 §4.1); called once for each."""
        if prepared.issuer != self.name:
            raise IssuanceRefused(f"{self.name} was asked to sign what {prepared.issuer} prepared")
        known = self._constants.get((prepared.profile, prepared.version))
        if known is not None and prepared.own == len(known[0]):
            constant = known[1]
        else:
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
