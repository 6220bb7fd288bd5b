"""Certificate kinds as data, read from `profiles.toml`."""

from collections.abc import Collection
from datetime import datetime, timedelta
from importlib.resources import files

import msgspec
from cryptography import x509

ANY_POLICY = x509.ObjectIdentifier("2.5.29.32.0")

# validity-assured short-term certificate, ETSI EN 319 412-1 §5.2
SHORT_TERM = x509.UnrecognizedExtension(x509.ObjectIdentifier("0.4.0.194121.2.1"), b"\x05\x00")

# Purposes of which a signing certificate has one at least: RFC 9336, Adobe's, Microsoft's.
DOCUMENT_SIGNING = frozenset({"1.3.6.1.5.5.7.3.36", "1.2.840.113583.1.1.5", "1.3.6.1.4.1.311.10.3.12"})

USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of certificate; see the head of `profiles.toml` for the fields."""

    key_usage: list[str]
    days: int = 0
    seconds: int = 0
    path_length: int | None = None
    extended_key_usage: list[str] = []
    extended_key_usage_critical: bool = False
    status: bool = False
    no_check: bool = False
    short_term: bool = False
    policy: str | None = None
    key_usage_allowed: list[str] = []
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

    def constant_extensions(self, policy_arc: str, *, test: bool) -> list[x509.Extension[x509.ExtensionType]]:
        """Return the extensions that depend on nothing but the profile and the hierarchy."""
        found = [_extension(key_usage(self.key_usage), critical=True)]
        if self.is_ca:
            constraints = x509.BasicConstraints(ca=True, path_length=self.path_length)
            found.append(_extension(constraints, critical=True))
        if self.extended_key_usage:
            purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in self.extended_key_usage])
            found.append(_extension(purposes, critical=self.extended_key_usage_critical))
        if self.policy is not None:
            policy = x509.PolicyInformation(policy_oid(policy_arc, self.policy, test=test), None)
            found.append(_extension(x509.CertificatePolicies([policy]), critical=False))
        if self.no_check:
            found.append(_extension(x509.OCSPNoCheck(), critical=False))
        if self.short_term:
            found.append(_extension(SHORT_TERM, critical=False))
        return found


def key_usage(names: Collection[str]) -> x509.KeyUsage:
    """Return keyUsage (RFC 5280 §4.2.1.3) with the usages of these names."""
    return x509.KeyUsage(**{name: name in names for name in USAGES})


def policy_oid(arc: str, suffix: str, *, test: bool) -> x509.ObjectIdentifier:
    """Return a policy below the operator's arc, .1 in production and .2 in the test hierarchy, or anyPolicy."""
    if suffix == "any":
        return ANY_POLICY
    return x509.ObjectIdentifier(f"{arc}.{2 if test else 1}.{suffix}")


def _extension(value: x509.ExtensionType, *, critical: bool) -> x509.Extension[x509.ExtensionType]:
    return x509.Extension(value.oid, critical, value)


def validity(profile: Profile, now: datetime, lifetime: timedelta | None = None) -> tuple[datetime, datetime]:
    """Return notBefore and notAfter, UTC, whole seconds; `lifetime`, if given, in place of the profile's.

    Both ends are inclusive (RFC 5280 §4.1.2.5), hence the second taken off: a 10-minute certificate
    covers exactly 600 seconds.
    """
    not_before = now.replace(microsecond=0)
    return not_before, not_before + (lifetime or profile.lifetime) - timedelta(seconds=1)


def load() -> dict[str, Profile]:
    """Return the profiles by name."""
    raw = (files("intaglio.pki") / "profiles.toml").read_bytes()
    return msgspec.toml.decode(raw, type=dict[str, Profile])


PROFILES = load()
# After as long, no identity is left of those that were there.
LONGEST_SIGNING = max(profile.lifetime for name, profile in PROFILES.items() if name.startswith("signing-"))
