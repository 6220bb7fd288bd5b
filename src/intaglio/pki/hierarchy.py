"""The authorities of the service: which there are, who signs whom, and which of them serve now.

    root ── issuing, tsa                 production
    test-root ── test-issuing, test-tsa  test: named so, other policy OIDs, never anything qualified
    client                               certificates that API clients authenticate with
    server ── tls                        the certificate of the API listener

So it is at the beginning. Later there may be more: a new issuing CA beside the old, a root whose key is elsewhere.
Every CA has a delegated OCSP responder, `<ca>-ocsp`.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from intaglio.errors import ContentRefused, NotFound
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.pki.profiles import PROFILES


class Hierarchy(StrEnum):
    """Which of the two hierarchies an account's certificates come from."""

    PRODUCTION = "production"
    TEST = "test"


class State(StrEnum):
    """Where a member is in its life: asked for, with its certificate, or in use no more.

    A retired CA issues no more; what it issued is still answered for.
    """

    REQUESTED = "requested"
    ACTIVE = "active"
    RETIRED = "retired"


class KeyPlace(StrEnum):
    """Where a member's private key is."""

    HERE = "here"
    ELSEWHERE = "elsewhere"
    DESTROYED = "destroyed"


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate of the service itself; `issuer` None signs itself, or is not known as long as it is requested.

    `algorithm` is the kind of key that was asked for, None for members older than this file.
    """

    name: str
    issuer: str | None
    profile: str
    title: str
    test: bool = False
    key: KeyPlace = KeyPlace.HERE
    state: State = State.ACTIVE
    algorithm: KeyAlgorithm | None = None

    @property
    def is_ca(self) -> bool:
        """Whether it issues others."""
        return PROFILES[self.profile].is_ca

    @property
    def certified(self) -> bool:
        """Whether it has its certificate."""
        return self.state != State.REQUESTED

    @property
    def responder(self) -> str:
        """The name of a CA's OCSP responder."""
        return f"{self.name}-ocsp"


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The members that serve one hierarchy; `before` is the issuing CA that served until `since`."""

    issuing: str | None = None
    tsa: str | None = None
    before: str | None = None
    since: datetime | None = None


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every member, issuers before what they sign, and who serves each hierarchy."""

    members: tuple[Member, ...]
    families: Mapping[Hierarchy, Family]

    def find(self, name: str) -> Member | None:
        """Return a member, or None."""
        return next((member for member in self.members if member.name == name), None)

    def member(self, name: str) -> Member:
        """Return a member; raises `NotFound`."""
        found = self.find(name)
        if found is None:
            raise NotFound(f"There is no {name} in the hierarchy.", {"name": f"{name[:64]}: not found"})
        return found

    @property
    def authorities(self) -> tuple[Member, ...]:
        """The CAs that have their certificates."""
        return tuple(member for member in self.members if member.is_ca and member.certified)

    def family(self, hierarchy: Hierarchy) -> Family:
        """Return who serves a hierarchy: perhaps nobody yet."""
        return self.families.get(hierarchy, Family())

    def with_member(self, member: Member) -> "Roster":
        """Return the roster with `member` in the place of the one of its name, or at the end."""
        if self.find(member.name) is None:
            return msgspec.structs.replace(self, members=(*self.members, member))
        changed = tuple(member if one.name == member.name else one for one in self.members)
        return msgspec.structs.replace(self, members=changed)

    def with_family(self, hierarchy: Hierarchy, family: Family) -> "Roster":
        """Return the roster with another family."""
        return msgspec.structs.replace(self, families={**self.families, hierarchy: family})

    def check(self) -> None:
        """Raise `ContentRefused` naming everything that does not fit together."""
        faults = dict(self._faults())
        if faults:
            raise ContentRefused("The hierarchy does not hold together.", faults)

    def _faults(self) -> Iterator[tuple[str, str]]:
        names = [member.name for member in self.members]
        for member in self.members:
            place = f"members.{member.name}"
            if names.count(member.name) > 1:
                yield place, "is there twice"
            if member.profile not in PROFILES:
                yield f"{place}.profile", f"one of {', '.join(PROFILES)}"
                continue
            issuer = self.find(member.issuer or "")
            if member.issuer is not None and (issuer is None or issuer.profile not in PROFILES or not issuer.is_ca):
                yield f"{place}.issuer", "is no CA of the hierarchy"
            if issuer is not None and issuer.test != member.test:
                yield f"{place}.test", "is of the other hierarchy than its issuer"
        for hierarchy, family in self.families.items():
            for role, name in (("issuing", family.issuing), ("tsa", family.tsa)):
                found = self.find(name or "")
                if name is None:
                    continue
                fits = found is not None and found.profile == role and found.state == State.ACTIVE
                if not fits or (found is not None and found.test != (hierarchy == Hierarchy.TEST)):
                    yield f"families.{hierarchy}.{role}", "is no active member of this kind and hierarchy"


def ca(name: str, issuer: str | None, profile: str, title: str, *, test: bool = False) -> tuple[Member, Member]:
    """Return a CA and its OCSP responder."""
    made = Member(name, issuer, profile, title, test)
    return made, Member(made.responder, name, "ocsp", f"{title} OCSP Responder", test)


_PRODUCTION: tuple[Member, ...] = (
    *ca("root", None, "root", "Root CA"),
    *ca("issuing", "root", "issuing", "Document Signing CA"),
    Member("tsa", "root", "tsa", "Time-Stamping Authority"),
)
_OTHERS: tuple[Member, ...] = (
    *ca("test-root", None, "root", "TEST Root CA", test=True),
    *ca("test-issuing", "test-root", "issuing", "TEST Document Signing CA", test=True),
    Member("test-tsa", "test-root", "tsa", "TEST Time-Stamping Authority", test=True),
    *ca("client", None, "client-ca", "Client Authentication CA"),
    *ca("server", None, "server-ca", "Server Authentication CA"),
    Member("tls", "server", "server", "API"),
)
_TEST_FAMILY = Family("test-issuing", "test-tsa")
# What `init` makes; and a home without a roster of its own has this.
ROSTER = Roster(
    (*_PRODUCTION, *_OTHERS),
    {Hierarchy.PRODUCTION: Family("issuing", "tsa"), Hierarchy.TEST: _TEST_FAMILY},
)
# Where the production root will be one whose key is elsewhere, nothing of production is there at the beginning.
OFFLINE_ROOT = Roster(_OTHERS, {Hierarchy.TEST: _TEST_FAMILY})
NOBODY = Roster((), {})


def subject(organization: str, title: str, country: str | None = None) -> x509.Name:
    """Return the name of a member: `C=<country>, O=<organization>, CN=<organization> <title>`, C where it is known."""
    return x509.Name(
        [
            *([] if country is None else [x509.NameAttribute(NameOID.COUNTRY_NAME, country)]),
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
