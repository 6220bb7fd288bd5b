"""Certificate kinds as data: the service's own in `profiles.toml`, those of signers a file each."""

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from importlib.resources import files
from typing import Literal, get_args

import msgspec
from cryptography import x509

from intaglio.errors import RuleBroken
from intaglio.pki.der import element
from intaglio.pki.extensions import Statements
from intaglio.pki.naming import Naming
from intaglio.pki.publication import Extension, Publication

ANY_POLICY = x509.ObjectIdentifier("2.5.29.32.0")

# validity-assured short-term certificate, ETSI EN 319 412-1 §5.2
SHORT_TERM = x509.UnrecognizedExtension(x509.ObjectIdentifier("0.4.0.194121.2.1"), b"\x05\x00")
# noRevAvail, NULL (RFC 9608 §2)
NO_REVOCATION = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.56"), b"\x05\x00")
# Adobe's time-stamp extension, and the one that has revocation data archived in the signature, with its only value
ADOBE_TIME_STAMP = x509.ObjectIdentifier("1.2.840.113583.1.1.9.1")
ADOBE_ARCHIVE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.840.113583.1.1.9.2"), b"\x30\x03\x02\x01\x01")

# Purposes of which a signing certificate has one at least: RFC 9336, Adobe's, Microsoft's.
DOCUMENT_SIGNING = frozenset({"1.3.6.1.5.5.7.3.36", "1.2.840.113583.1.1.5", "1.3.6.1.4.1.311.10.3.12"})

# Purposes that no signer has beside those, for whoever has them could answer for the CA, stamp the time, or be a server
# or a program's maker to others: any, TLS server, code, time-stamps, OCSP (RFC 5280 §4.2.1.12).
NEVER_OF_SIGNERS = frozenset({"2.5.29.37.0", *(f"1.3.6.1.5.5.7.3.{number}" for number in (1, 3, 8, 9))})

Usage = Literal[
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
]
USAGES: tuple[Usage, ...] = get_args(Usage)


class Holder(StrEnum):
    """Whom a signing certificate is for: a natural person, or a legal person's seal."""

    PERSON = "person"
    SEAL = "seal"


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The qcStatements of a profile (ETSI EN 319 412-5).

    `disclosure` puts the operator's disclosure statements in, or the profile's own `disclosures`, URLs by language.
    """

    type: str | None = None
    semantics: str | None = None
    compliance: bool = False
    device: bool = False
    legislation: tuple[str, ...] = ()
    retention_years: int | None = None
    disclosure: bool = False
    disclosures: dict[str, str] = {}

    def made(self, places: Publication) -> Statements:
        """Return the statements as they are certified."""
        found = (self.disclosures or places.disclosures) if self.disclosure else {}
        return Statements(
            semantics=self.semantics,
            compliance=self.compliance,
            device=self.device,
            type=self.type,
            retention_years=self.retention_years,
            disclosures=tuple(found.items()),
            legislation=self.legislation,
        )


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of certificate; docs/operate/profiles.md tells the fields of those of signers."""

    key_usage: list[Usage]
    name: str = ""
    version: int = 0
    title: str = ""
    holder: Holder | None = None
    days: int = 0
    seconds: int = 0
    path_length: int | None = None
    extended_key_usage: list[str] = []
    extended_key_usage_critical: bool = False
    status: bool = False
    no_check: bool = False
    no_revocation: bool = False
    short_term: bool = False
    policy: str | None = None
    policies: list[str] = []
    cps: str | None = None
    adobe_time_stamp: str | None = None
    adobe_archive: bool = False
    naming: Naming | None = None
    statements: Declared | None = None
    key_usage_allowed: list[Usage] = []
    extended_key_usage_allowed: list[str] = []
    qc_types: list[str] = []

    @property
    def lifetime(self) -> timedelta:
        """How long a certificate of this kind is valid."""
        return timedelta(days=self.days, seconds=self.seconds)

    @property
    def is_ca(self) -> bool:
        """Whether a certificate of this kind issues others."""
        return self.path_length is not None

    @property
    def qualified(self) -> bool:
        """Whether it says that it is a qualified certificate, or of a qualified device."""
        return self.statements is not None and (self.statements.compliance or self.statements.device)

    def constant_extensions(self, places: Publication, *, test: bool) -> list[Extension]:
        """Return the extensions that depend on nothing but the profile and the hierarchy."""
        found = [_extension(key_usage(self.key_usage), critical=True)]
        if self.is_ca:
            constraints = x509.BasicConstraints(ca=True, path_length=self.path_length)
            found.append(_extension(constraints, critical=True))
        if self.extended_key_usage:
            purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in self.extended_key_usage])
            found.append(_extension(purposes, critical=self.extended_key_usage_critical))
        policies = self._policies(places, test=test)
        if policies:
            found.append(_extension(x509.CertificatePolicies(policies), critical=False))
        if self.no_check:
            found.append(_extension(x509.OCSPNoCheck(), critical=False))
        if self.short_term:
            found.append(_extension(SHORT_TERM, critical=False))
        if self.no_revocation:
            found.append(_extension(NO_REVOCATION, critical=False))
        if self.statements is not None:
            found.append(_extension(self.statements.made(places).extension(), critical=False))
        if self.adobe_time_stamp is not None:
            own = places.time_stamps(test=test)
            url = own if self.adobe_time_stamp == "own" else self.adobe_time_stamp
            found.append(_extension(_adobe_time_stamp(url), critical=False))
        if self.adobe_archive:
            found.append(_extension(ADOBE_ARCHIVE, critical=False))
        return found

    def published(self, places: Publication, issuer: str) -> list[Extension]:
        """Return what tells where the issuer is found and the status is asked for."""
        if self.status:
            return places.status(issuer)
        return places.path(issuer) if self.no_revocation else []

    def _policies(self, places: Publication, *, test: bool) -> list[x509.PolicyInformation]:
        ours = [oid for oid in self.policies if oid == places.policy_arc or oid.startswith(f"{places.policy_arc}.")]
        if ours:
            # Below the arc is what tells production from tests, and one profile from another.
            raise RuleBroken("policies.arc", f"{ours[0]} is below the service's own arc: say it as policy")
        oids = [x509.ObjectIdentifier(oid) for oid in self.policies]
        if self.policy is not None:
            oids.insert(0, policy_oid(places.policy_arc, self.policy, test=test))
        statement = (self.cps or places.cps) if self.holder is not None else None
        # A CPS pointer is the URI itself (RFC 5280 §4.2.1.4); it stands with the first policy, the operator's own.
        return [
            x509.PolicyInformation(oid, [statement] if statement is not None and place == 0 else None)
            for place, oid in enumerate(oids)
        ]


def key_usage(names: Collection[str]) -> x509.KeyUsage:
    """Return keyUsage (RFC 5280 §4.2.1.3) with the usages of these names."""
    return x509.KeyUsage(**{name: name in names for name in USAGES})


def policy_oid(arc: str, suffix: str, *, test: bool) -> x509.ObjectIdentifier:
    """Return a policy below the operator's arc, .1 in production and .2 in the test hierarchy, or anyPolicy."""
    if suffix == "any":
        return ANY_POLICY
    return x509.ObjectIdentifier(f"{arc}.{2 if test else 1}.{suffix}")


def _extension(value: x509.ExtensionType, *, critical: bool) -> Extension:
    return x509.Extension(value.oid, critical, value)


def _adobe_time_stamp(url: str) -> x509.UnrecognizedExtension:
    """Return SEQUENCE {version 1, location [6] URI}; requiresAuth is left out, its default is no."""
    content = element(0x30, b"\x02\x01\x01", element(0x86, url.encode("ascii")))
    return x509.UnrecognizedExtension(ADOBE_TIME_STAMP, content)


def validity(profile: Profile, now: datetime, lifetime: timedelta | None = None) -> tuple[datetime, datetime]:
    """Return notBefore and notAfter, UTC, whole seconds; `lifetime`, if given, in place of the profile's.

    Both ends are inclusive (RFC 5280 §4.1.2.5), hence the second taken off: a 10-minute certificate
    covers exactly 600 seconds.
    """
    not_before = now.replace(microsecond=0)
    return not_before, not_before + (lifetime or profile.lifetime) - timedelta(seconds=1)


def _own() -> dict[str, Profile]:
    raw = (files("intaglio.pki") / "profiles.toml").read_bytes()
    found = msgspec.toml.decode(raw, type=dict[str, Profile])
    return {name: msgspec.structs.replace(profile, name=name) for name, profile in found.items()}


def _packaged() -> dict[str, bytes]:
    folder = files("intaglio.pki") / "signing_profiles"
    return {file.name.removesuffix(".toml"): file.read_bytes() for file in folder.iterdir() if file.is_file()}


# The files of the profiles of signers that come with the service, by name.
PACKAGED = dict(sorted(_packaged().items()))
SIGNING = {name: msgspec.toml.decode(file, type=Profile) for name, file in PACKAGED.items()}
PROFILES = _own() | SIGNING
# After as long, no identity is left of those that were there.
LONGEST_SIGNING = timedelta(seconds=600)
