"""What certificates say of the place they come from: addresses, policies, and statements of the operator."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

Extension = x509.Extension[x509.ExtensionType]


class Publication(msgspec.Struct, frozen=True):
    """The public listener's `url`, the operator's arc of policy OIDs, and where the operator's statements are.

    `cps` is the certification practice statement, `disclosures` the PKI disclosure statements by language.
    """

    url: str
    policy_arc: str = "1.3.6.1.4.1.32473"
    cps: str | None = None
    disclosures: Mapping[str, str] = {}

    @property
    def local(self) -> bool:
        """Whether the addresses are of use on this machine or network alone: to try things, and no more."""
        host = urlsplit(self.url).hostname or ""
        return "." not in host or host.startswith("127.")

    def status(self, issuer: str) -> list[Extension]:
        """Return AIA (OCSP, caIssuers) and CRLDP for certificates of `issuer`."""
        ocsp = _access(AuthorityInformationAccessOID.OCSP, f"{self.url}/ocsp")
        access = x509.AuthorityInformationAccess([ocsp, self._issuers(issuer)])
        address = x509.UniformResourceIdentifier(f"{self.url}/crl/{issuer}.crl")
        points = x509.CRLDistributionPoints([x509.DistributionPoint([address], None, None, None)])
        return [x509.Extension(access.oid, False, access), x509.Extension(points.oid, False, points)]

    def path(self, issuer: str) -> list[Extension]:
        """Return AIA with caIssuers alone, for certificates whose status nobody is to ask for."""
        access = x509.AuthorityInformationAccess([self._issuers(issuer)])
        return [x509.Extension(access.oid, False, access)]

    def time_stamps(self, *, test: bool) -> str:
        """Return where the time-stamping authority of a hierarchy answers."""
        return f"{self.url}/tsa/test" if test else f"{self.url}/tsa"

    def _issuers(self, issuer: str) -> x509.AccessDescription:
        return _access(AuthorityInformationAccessOID.CA_ISSUERS, f"{self.url}/ca/{issuer}.crt")


def _access(method: x509.ObjectIdentifier, url: str) -> x509.AccessDescription:
    return x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
