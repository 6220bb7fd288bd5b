"""Issuing certificates: `prepare` decides everything, `issue` only signs.

Between the two the caller makes the intention durable, so that every serial number that was ever
planned can be answered for.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from intaglio.errors import IssuanceRefused
from intaglio.keys.algorithm import PrivateKey, PublicKey
from intaglio.pki import lint
from intaglio.pki.profiles import PROFILES, validity
from intaglio.pki.signature import signature_hash

Extensions = Sequence[tuple[x509.ExtensionType, bool]]


class Prepared(msgspec.Struct, frozen=True):
    """A certificate with everything decided and nothing signed."""

    issuer: str
    profile: str
    serial: int
    subject: x509.Name
    public_key: PublicKey
    not_before: datetime
    not_after: datetime
    extensions: list[x509.Extension[x509.ExtensionType]]


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


def new_serial() -> int:
    """Return a positive serial number, 20 octets, of which 158 bits are random (RFC 5280 §4.1.2.2)."""
    return (1 << 158) | secrets.randbits(158)


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
        self._hash = signature_hash(key)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        authority = x509.Extension(identifier.oid, False, identifier)
        status = places.extensions(name)
        # What depends on issuer and profile alone is built once: issuing is a hot path.
        self._constant = {
            profile_name: [
                *profile.constant_extensions(places.policy_arc, test=test),
                authority,
                *(status if profile.status else []),
            ]
            for profile_name, profile in PROFILES.items()
        }

    def prepare(
        self,
        profile_name: str,
        *,
        subject: x509.Name,
        public_key: PublicKey,
        now: datetime,
        extensions: Extensions = (),
    ) -> Prepared:
        """Decide a certificate of `profile_name`; raises `IssuanceRefused` naming the rule that it breaks."""
        not_before, not_after = validity(PROFILES[profile_name], now)
        if self.certificate is not None:
            not_after = min(not_after, self.certificate.not_valid_after_utc)
        identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
        prepared = Prepared(
            issuer=self.name,
            profile=profile_name,
            serial=new_serial(),
            subject=subject,
            public_key=public_key,
            not_before=not_before,
            not_after=not_after,
            extensions=[
                *self._constant[profile_name],
                x509.Extension(identifier.oid, False, identifier),
                *(x509.Extension(value.oid, critical, value) for value, critical in extensions),
            ],
        )
        lint.check(
            serial=prepared.serial,
            subject=subject,
            not_before=not_before,
            not_after=not_after,
            extensions=prepared.extensions,
            profile=PROFILES[profile_name],
            issuer=self.certificate,
        )
        return prepared

    def issue(self, prepared: Prepared) -> x509.Certificate:
        """Sign what was prepared; called once for each."""
        if prepared.issuer != self.name:
            raise IssuanceRefused(f"{self.name} was asked to sign what {prepared.issuer} prepared")
        builder = x509.CertificateBuilder(
            issuer_name=self.subject,
            subject_name=prepared.subject,
            public_key=prepared.public_key,
            serial_number=prepared.serial,
            not_valid_before=prepared.not_before.replace(tzinfo=None),
            not_valid_after=prepared.not_after.replace(tzinfo=None),
            extensions=prepared.extensions,
        )
        return builder.sign(self.key, self._hash)
