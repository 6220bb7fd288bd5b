"""The authorities of the service: which there are, who signs whom, and how they are made at the beginning.

    root ── issuing, tsa                 production
    test-root ── test-issuing, test-tsa  test: named so, other policy OIDs, never anything qualified
    client                               certificates that API clients authenticate with
    server ── tls                        the certificate of the API listener

Every CA has a delegated OCSP responder, `<ca>-ocsp`.
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey
from intaglio.pki.issuer import Extensions, Issuer, Prepared, Publication


class Hierarchy(StrEnum):
    """Which of the two hierarchies an account's certificates come from."""

    PRODUCTION = "production"
    TEST = "test"


class Member(msgspec.Struct, frozen=True):
    """A certificate of the service itself; `issuer` None signs itself."""

    name: str
    issuer: str | None
    profile: str
    title: str
    test: bool = False


def _ca(name: str, issuer: str | None, profile: str, title: str, *, test: bool = False) -> tuple[Member, Member]:
    return (
        Member(name, issuer, profile, title, test),
        Member(f"{name}-ocsp", name, "ocsp", f"{title} OCSP Responder", test),
    )


MEMBERS: tuple[Member, ...] = (
    *_ca("root", None, "root", "Root CA"),
    *_ca("issuing", "root", "issuing", "Document Signing CA"),
    Member("tsa", "root", "tsa", "Time-Stamping Authority"),
    *_ca("test-root", None, "root", "TEST Root CA", test=True),
    *_ca("test-issuing", "test-root", "issuing", "TEST Document Signing CA", test=True),
    Member("test-tsa", "test-root", "tsa", "TEST Time-Stamping Authority", test=True),
    *_ca("client", None, "client-ca", "Client Authentication CA"),
    *_ca("server", None, "server-ca", "Server Authentication CA"),
    Member("tls", "server", "server", "API"),
)
AUTHORITIES: tuple[str, ...] = tuple(
    member.name for member in MEMBERS if member.profile in {"root", "issuing", "client-ca", "server-ca"}
)


class Family(msgspec.Struct, frozen=True):
    """The members that serve one hierarchy."""

    root: str
    issuing: str
    tsa: str


FAMILIES: Mapping[Hierarchy, Family] = {
    Hierarchy.PRODUCTION: Family("root", "issuing", "tsa"),
    Hierarchy.TEST: Family("test-root", "test-issuing", "test-tsa"),
}

# (root, everything else). A root signs a handful of certificates in twenty years. The others sign all day:
# RSA-2048 signs four times as often as RSA-3072, and archive time-stamps carry what it signed further.
SIZES: Mapping[str, tuple[KeyAlgorithm, KeyAlgorithm]] = {
    "rsa": (KeyAlgorithm.RSA_4096, KeyAlgorithm.RSA_2048),
    "p-256": (KeyAlgorithm.P_256, KeyAlgorithm.P_256),
}


class Made(msgspec.Struct, frozen=True):
    """A member with its key and certificate."""

    member: Member
    prepared: Prepared
    key: PrivateKey
    certificate: x509.Certificate


def subject(organization: str, title: str) -> x509.Name:
    """Return the name of a member: `O=<organization>, CN=<organization> <title>`."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{organization} {title}"),
        ]
    )


def host_names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    """Return the names and addresses that the API's TLS certificate is for."""
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def build(
    organization: str,
    *,
    sizes: tuple[KeyAlgorithm, KeyAlgorithm],
    hosts: Sequence[str],
    places: Publication,
    now: datetime,
    generate: Callable[[KeyAlgorithm], PrivateKey],
    progress: Callable[[str], None],
) -> list[Made]:
    """Make every member's key and certificate, issuers first; `sizes` is a value of `SIZES`."""
    made: list[Made] = []
    issuers: dict[str, Issuer] = {}
    for member in MEMBERS:
        progress(member.name)
        key = generate(sizes[0] if member.profile == "root" else sizes[1])
        name = subject(organization, member.title)
        issuer = Issuer(member.name, None, key, places, subject=name, test=member.test)
        if member.issuer is not None:
            issuer = issuers[member.issuer]
        extensions: Extensions = [(host_names(hosts), False)] if member.profile == "server" else []
        prepared = issuer.prepare(
            member.profile, subject=name, public_key=key.public_key(), now=now, extensions=extensions
        )
        certificate = issuer.issue(prepared)
        issuers[member.name] = Issuer(member.name, certificate, key, places, test=member.test)
        made.append(Made(member, prepared, key, certificate))
    return made
