"""Requests for certificates of members (PKCS #10, RFC 2986): made where the key is, signed where the issuer's is."""

import hashlib
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from intaglio.database.engine import reading, transaction
from intaglio.errors import Conflict, ContentRefused
from intaglio.keys.algorithm import PublicKey, public_key_der
from intaglio.ledger.entry import Event
from intaglio.pki import public_key
from intaglio.pki.hierarchy import KeyPlace, Member, Roster, State, subject
from intaglio.pki.signature import signature_hash
from intaglio.revocation import register
from intaglio.service.authorities.membership import BENEATH, check_names, enter, kept_key, same
from intaglio.service.authorities.membership import algorithm as algorithm_called
from intaglio.service.authorities.standing import revoked
from intaglio.service.home import Home
from intaglio.service.issuance import issue
from intaglio.service.roster import changing

_REQUESTABLE = frozenset().union(*BENEATH.values())
# End certificates may be asked for again, for the key that is there: their issuer cannot renew them here.
_RENEWABLE = frozenset({"tsa", "ocsp"})


def request_authority(
    home: Home, name: str, *, profile: str, title: str, algorithm: str, test: bool = False, now: datetime
) -> x509.CertificateSigningRequest:
    """Make a key for a new authority, and return the request for its certificate.

    `profile` is "issuing", "tsa", or "ocsp" for the responder of a root whose key is elsewhere, named `<root>-ocsp`.
    1. that it is asked for is durable; 2. its key is made; 3. it signs the request. Called again with the same words,
    it returns a request for the same key; so it does for a TSA or responder that is to be renewed.
    Raises `ContentRefused` (name, title, profile, algorithm), `Conflict` (name or title taken), `KeyUnavailable`.
    """
    if profile not in _REQUESTABLE:
        raise ContentRefused("There is no such authority.", {"profile": f"one of {', '.join(sorted(_REQUESTABLE))}"})
    wanted = Member(name, None, profile, title, test, state=State.REQUESTED, algorithm=algorithm_called(algorithm))
    with changing(home.path) as found:
        held = found.find(name)
        if held is not None and held.certified and not (profile in _RENEWABLE and same(held, wanted)):
            raise Conflict(f"The name {name} is taken.", {"name": f"{name} is there: {held.profile}, {held.state}"})
        # 1
        enter(home, found, wanted)
        # 2
        key = kept_key(home, wanted)
        digest = hashlib.sha256(public_key_der(key.public_key())).hexdigest()
        details = {"member": name, "profile": profile, "algorithm": wanted.algorithm, "public_key": digest}
        with transaction(home.engine) as connection:
            home.chain.append(connection, [Event(now, "authority.requested", reference=name, details=details)])
        # 3
        who = home.subject(title)
        if held is not None and held.certified:
            who = home.certificate(name).subject
        return x509.CertificateSigningRequestBuilder(who).sign(key, signature_hash(key))


def sign_request(
    home: Home,
    issuer: str,
    csr: x509.CertificateSigningRequest,
    *,
    profile: str,
    title: str,
    now: datetime,
    organization: str | None = None,
    country: str | None = None,
) -> x509.Certificate:
    """Return the certificate for a request, signed by the CA `issuer` whose key is here.

    Of the request, the key is taken, and its subject must be the one that is certified: `title` after the name of the
    `organization` of a `country`, this home's if not said. 1. issuer and request are looked at; 2. the intention is
    durable; 3. the certificate is signed; 4. certificate and entry are durable.
    Raises `ContentRefused`, `WeakKey`, `Conflict` (a key or subject that has another use already), `NotFound`,
    `KeyUnavailable`, `IssuanceRefused`.
    """
    # 1
    key = _key_of(csr)
    roster = home.roster()
    authority = roster.member(issuer)
    _check_issuer(home, roster, authority, profile)
    owner = organization or home.settings.name
    who = home.subject(title) if organization is None else subject(organization, title, country)
    if csr.subject != who:
        raise ContentRefused(
            "The request is for another subject.",
            {"csr": f"asks for {csr.subject.rfc4514_string()}, to be certified is {who.rfc4514_string()}"},
        )
    name = "request-ocsp" if profile == "ocsp" else "request"
    _check_title(roster, owner, authority, Member(name, issuer, profile, title, authority.test))
    _check_other_uses(home, roster, authority, who, key, profile)
    # 2, 3, 4
    signer = home.issuer(issuer)
    prepared = signer.prepare(profile, subject=who, public_key=key, now=now)
    return issue(home, signer, prepared, now, {"subject": who.rfc4514_string(), "profile": profile})


def _key_of(csr: x509.CertificateSigningRequest) -> PublicKey:
    try:
        key = csr.public_key()
        valid = csr.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ContentRefused("The request cannot be read.", {"csr": str(error)}) from error
    checked = public_key.check(key, "csr")
    if not valid:
        raise ContentRefused("The request is not signed by its own key.", {"csr": "bad signature"})
    return checked


def _check_issuer(home: Home, roster: Roster, authority: Member, profile: str) -> None:
    if profile not in BENEATH.get(authority.profile, frozenset()):
        raise ContentRefused(
            f"{authority.name} signs no such certificate.",
            {"profile": f"{profile} is not signed by the kind {authority.profile}"},
        )
    if authority.key != KeyPlace.HERE:
        raise Conflict(f"The key of {authority.name} is not here.", {"issuer": f"its key is {authority.key}"})
    if authority.state != State.ACTIVE:
        raise Conflict(f"{authority.name} issues nothing.", {"issuer": f"is {authority.state}"})
    if authority.name in revoked(home, roster):
        raise Conflict(f"{authority.name} is revoked.", {"issuer": "is revoked"})


def _check_title(roster: Roster, organization: str, authority: Member, member: Member) -> None:
    # The name is no member's: only the title is looked at.
    shown = member if member.profile != "ocsp" else msgspec.structs.replace(member, name=authority.responder)
    check_names(roster, organization, shown)


def _check_other_uses(
    home: Home, roster: Roster, authority: Member, who: x509.Name, key: PublicKey, profile: str
) -> None:
    """Raise `Conflict` for a key that has another use, or an authority's subject that has another key."""
    with reading(home.engine) as connection:
        ders = [register.issued_as(connection, authority.name, kind) for kind in (*_REQUESTABLE, authority.profile)]
    others = [x509.load_der_x509_certificate(der) for found in ders for der in found]
    others += [home.certificate(member.name) for member in roster.members if member.certified]
    for other in others:
        if other.public_key() == key and other.subject != who:
            raise Conflict(
                "The key has another use already.", {"csr": f"is the key of {other.subject.rfc4514_string()}"}
            )
        if other.subject == who and other.public_key() != key and profile != "ocsp":
            raise Conflict(
                "Another authority has this subject.", {"title": "is taken by another key: number the new one"}
            )
