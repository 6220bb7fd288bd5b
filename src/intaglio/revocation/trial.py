"""A trial of a profile: certificates of it, CRLs and OCSP responses about them, by keys that are thrown away.

Everything goes the way of the real ones, under the real issuer's name and with its kind of key, and is looked at by
pkilint before anything real is signed.
"""

import secrets
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import combinations
from math import gcd, prod

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from intaglio.errors import IssuanceRefused, RuleBroken
from intaglio.keys.algorithm import CURVES, RSA_BITS, KeyAlgorithm, PrivateKey, PublicKey
from intaglio.pki import linter
from intaglio.pki.issuer import Extensions, Issuer
from intaglio.pki.lint import Accreditation
from intaglio.pki.profiles import DOCUMENT_SIGNING, Holder, Profile, key_usage
from intaglio.pki.publication import Publication
from intaglio.pki.subject import (
    Subject,
    SubjectAlternatives,
    SubjectDirectory,
    alternatives,
    directory_attributes,
    name,
)
from intaglio.revocation import crl, ocsp
from intaglio.revocation.register import Standing, State, serial_text


class Authority(msgspec.Struct, frozen=True):
    """The issuing CA that a trial imitates."""

    name: str
    subject: x509.Name
    algorithm: KeyAlgorithm
    test: bool


class Found(msgspec.Struct, frozen=True):
    """A finding of a trial: of what it is, and the rule, pkilint's or our `own`."""

    of: str
    rule: str
    told: str
    own: bool = False


# Linters look for these in a modulus.
_SMALL_FACTORS = prod((3, *(number for number in range(5, 752, 2) if pow(2, number - 1, number) == 1)))
_DAY = timedelta(days=1)
_PERSON = {
    "country": "DE",
    "common_name": "Erika Mustermann",
    "given_name": "Erika",
    "surname": "Mustermann",
    "serial_number": "PNODE-1234567890",
}
_SEAL = {
    "country": "DE",
    "common_name": "Example GmbH",
    "organization": "Example GmbH",
    "organization_identifier": "VATDE-123456789",
}
_BORN = SubjectDirectory("F", date(1964, 8, 12), "Berlin", ("DE",), ("DE", "AT"))
# For whom: by kind of account, and as short as names can be.
_SUBJECTS: Mapping[Holder, Mapping[str, tuple[Subject, Extensions]]] = {
    Holder.PERSON: {
        "an individual": (Subject({**_PERSON, "locality": "Berlin"}), [(directory_attributes(_BORN), False)]),
        "an employee": (
            Subject({**_PERSON, "organization": "Example GmbH", "email": "erika@example.com"}, ("Sales",)),
            [(alternatives(SubjectAlternatives(("erika@example.com",))), False)],
        ),
        "a pseudonym": (
            Subject(
                {field: _PERSON[field] for field in ("country", "common_name", "serial_number")} | {"pseudonym": "E"}
            ),
            (),
        ),
    },
    Holder.SEAL: {
        "an organization": (Subject(_SEAL), ()),
        "a partner": (Subject({**_SEAL, "organization_identifier": "LEIXG-529900T8BM49AURSDO55"}, ("Archive",)), ()),
    },
}


def trial(profile: Profile, authority: Authority, places: Publication, now: datetime) -> list[Found]:
    """Return what is found in everything that a CA would sign under a profile; it is taken to be accredited.

    Every kind of key that an identity may have is tried; takes seconds.
    """
    try:
        return list(_findings(profile, authority, places, now))
    except RuleBroken as error:
        return [Found("every certificate", error.rule, str(error), own=True)]


def _findings(profile: Profile, authority: Authority, places: Publication, now: datetime) -> Iterator[Found]:
    if profile.holder is None:
        raise IssuanceRefused(f"{profile.name} is not for signers")
    signer = _Signer(authority, places, now)
    accredited = Accreditation.NONE if authority.test else Accreditation.QUALIFIED_DEVICE
    etsi = profile.naming is not None
    serials = []
    for whose, (subject, extensions) in _SUBJECTS[profile.holder].items():
        for algorithm in KeyAlgorithm:
            prepared = signer.issuer.prepare(
                profile,
                subject=name(subject),
                public_key=_public(algorithm),
                now=now,
                extensions=extensions,
                accredited=accredited,
            )
            serials.append(prepared.serial)
            found = linter.certificate(signer.issuer.sign(prepared), etsi=etsi)
            yield from _told(f"a certificate for {whose}, {algorithm}", found, places)
    for what, chosen in _choices(profile).items():
        subject, extensions = next(iter(_SUBJECTS[profile.holder].values()))
        prepared = signer.issuer.prepare(
            profile,
            subject=name(subject),
            public_key=_public(KeyAlgorithm.P_256),
            now=now,
            extensions=[*extensions, chosen],
            accredited=accredited,
        )
        found = linter.certificate(signer.issuer.sign(prepared), etsi=etsi)
        yield from _told(f"a certificate with {what}", found, places)
    for what, response in signer.responses(serials[0], profile.lifetime).items():
        yield from _told(f"an OCSP response, {what}", linter.ocsp_response(response), places)
    for what, listed in signer.lists(serials, profile.name).items():
        yield from _told(f"a CRL, {what}", linter.revocation_list(listed), places)


def _choices(profile: Profile) -> Mapping[str, tuple[x509.ExtensionType, bool]]:
    """Return what a policy may have certified in place of the profile's own: each set of usages, and all purposes."""
    usages = profile.key_usage_allowed
    found: dict[str, tuple[x509.ExtensionType, bool]] = {
        " and ".join(chosen): (key_usage(chosen), True)
        for number in range(1, len(usages) + 1)
        for chosen in combinations(usages, number)
    }
    purposes = profile.extended_key_usage_allowed
    if DOCUMENT_SIGNING.intersection(purposes):
        every = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in purposes])
        found["all purposes that it allows"] = every, profile.extended_key_usage_critical
    return found


def _told(of: str, findings: list[linter.Finding], places: Publication) -> Iterator[Found]:
    for one in linter.unexplained(findings, local=places.local):
        yield Found(of, one.rule, f"{of}: {one.told}")


class _Signer:
    """A CA of the real one's name with a key of its own, and its responder."""

    def __init__(self, authority: Authority, places: Publication, now: datetime) -> None:
        self._now = now
        key = _key(authority.algorithm)
        root = Issuer(authority.name, None, key, places, subject=authority.subject, test=authority.test)
        made = root.issue(root.prepare("issuing", subject=authority.subject, public_key=key.public_key(), now=now))
        self.issuer = Issuer(authority.name, made, key, places, test=authority.test)
        prepared = self.issuer.prepare("ocsp", subject=authority.subject, public_key=key.public_key(), now=now)
        self._responder = ocsp.Responder(made, self.issuer.issue(prepared), key, _DAY)

    def responses(self, serial: int, lifetime: timedelta) -> Mapping[str, bytes]:
        """Return an OCSP response of each kind."""
        wanted = self._responder.cert_id(serial)
        # An OCTET STRING of 32 octets (RFC 9654 §2.1)
        nonce = b"\x04\x20" + bytes(range(32))
        return {
            "good": self._responder.sign([ocsp.Answer(wanted, self._now + lifetime)], self._now),
            "with a nonce": self._responder.sign([ocsp.Answer(wanted)], self._now, nonce),
            "unknown": self._responder.sign([ocsp.Answer(wanted, known=False)], self._now),
            "revoked": self._responder.sign(
                [ocsp.Answer(wanted, revoked_at=self._now, reason="keyCompromise")], self._now
            ),
        }

    def lists(self, serials: list[int], profile: str) -> Mapping[str, bytes]:
        """Return a CRL without and one with entries."""
        now = self._now
        revoked = [
            Standing(self.issuer.name, serial_text(serial), profile, State.REVOKED, "", now, now, None, now, reason)
            for serial, reason in zip(serials, ("unspecified", "keyCompromise", "superseded"), strict=False)
        ]
        return {
            what: crl.build(self.issuer, entries, number=1, now=self._now, currency=_DAY).der
            for what, entries in (("empty", []), ("with entries", revoked))
        }


@lru_cache
def _public(algorithm: KeyAlgorithm) -> PublicKey:
    """Return a public key for which there is no other half: making one of RSA-4096 takes seconds."""
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]()).public_key()
    bits = RSA_BITS[algorithm]
    while True:
        modulus = secrets.randbits(bits) | 1 << (bits - 1) | 1
        if gcd(modulus, _SMALL_FACTORS) == 1:
            return rsa.RSAPublicNumbers(65537, modulus).public_key()


@lru_cache
def _key(algorithm: KeyAlgorithm) -> PrivateKey:
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm]())
    return rsa.generate_private_key(65537, RSA_BITS[algorithm])
