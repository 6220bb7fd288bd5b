"""How the hierarchy is made at the beginning: every member with its key and certificate."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec
from cryptography import x509

from intaglio.keys.algorithm import KeyAlgorithm, PrivateKey
from intaglio.pki.hierarchy import ROSTER, Member, host_names, subject
from intaglio.pki.issuer import Extensions, Issuer, Prepared
from intaglio.pki.publication import Publication


class Algorithms(msgspec.Struct, frozen=True):
    """Which kinds of key the members get; `others` is for the CAs of the API, TLS and most responders."""

    root: KeyAlgorithm
    issuing: KeyAlgorithm
    tsa: KeyAlgorithm
    others: KeyAlgorithm

    def of(self, member: Member) -> KeyAlgorithm:
        """Return the kind of key that a member gets."""
        match member.profile:
            case "root":
                return self.root
            case "issuing":
                return self.issuing
            case "tsa":
                return self.tsa
            case "ocsp" if member.issuer in {"issuing", "test-issuing"}:
                return responder_algorithm(self.issuing)
            case _:
                return self.others


def responder_algorithm(authority: KeyAlgorithm) -> KeyAlgorithm:
    """Return the kind of key of a CA's OCSP responder: as strong as the CA's, as far as that is of use.

    RSA-4096 is for what is trusted for twenty years; a responder is replaced after six, and is asked all day.
    """
    return KeyAlgorithm.RSA_3072 if authority == KeyAlgorithm.RSA_4096 else authority


def _throughout(algorithm: KeyAlgorithm) -> Algorithms:
    return Algorithms(algorithm, algorithm, algorithm, algorithm)


# A root signs a handful of certificates in twenty years. The others sign all day: RSA-2048 signs four times as often
# as RSA-3072, and archive time-stamps carry what it signed further.
SIZES: Mapping[str, Algorithms] = {
    "rsa": Algorithms(KeyAlgorithm.RSA_4096, KeyAlgorithm.RSA_2048, KeyAlgorithm.RSA_2048, KeyAlgorithm.RSA_2048),
    **{
        str(algorithm): _throughout(algorithm)
        for algorithm in (KeyAlgorithm.RSA_3072, KeyAlgorithm.RSA_4096, KeyAlgorithm.P_256, KeyAlgorithm.P_384)
    },
}


class Made(msgspec.Struct, frozen=True):
    """A member with its key and certificate."""

    member: Member
    prepared: Prepared
    key: PrivateKey
    certificate: x509.Certificate


def build(
    organization: str,
    *,
    country: str | None = None,
    sizes: Algorithms,
    hosts: Sequence[str],
    places: Publication,
    now: datetime,
    generate: Callable[[KeyAlgorithm, str], PrivateKey],
    progress: Callable[[str], None],
    members: Sequence[Member] = ROSTER.members,
) -> list[Made]:
    """Make every member's key and certificate; `members` has issuers before what they sign."""
    made: list[Made] = []
    issuers: dict[str, Issuer] = {}
    for member in members:
        progress(member.name)
        algorithm = sizes.of(member)
        key = generate(algorithm, member.name)
        name = subject(organization, member.title, country)
        issuer = Issuer(member.name, None, key, places, subject=name, test=member.test)
        if member.issuer is not None:
            issuer = issuers[member.issuer]
        extensions: Extensions = [(host_names(hosts), False)] if member.profile == "server" else []
        prepared = issuer.prepare(
            member.profile, subject=name, public_key=key.public_key(), now=now, extensions=extensions
        )
        certificate = issuer.issue(prepared)
        issuers[member.name] = Issuer(member.name, certificate, key, places, test=member.test)
        recorded = msgspec.structs.replace(member, algorithm=algorithm)
        made.append(Made(recorded, prepared, key, certificate))
    return made
