"""Renewing the service's own end certificates: the API's, the OCSP responders', the time-stamping authorities'."""

from datetime import datetime

from cryptography import x509

from intaglio.errors import Conflict, ContentRefused
from intaglio.keys.algorithm import algorithm_of
from intaglio.pki.hierarchy import KeyPlace, Roster, host_names
from intaglio.pki.issuer import Extensions
from intaglio.service.authorities import install_authority, request_authority
from intaglio.service.home import Home
from intaglio.service.issuance import issue, place


def renewable(roster: Roster) -> list[str]:
    """Return the members that can be renewed: end certificates, with their key and that of their issuer here."""
    here = {member.name for member in roster.members if member.key == KeyPlace.HERE and member.certified}
    return [one.name for one in roster.members if not one.is_ca and one.name in here and one.issuer in here]


def request_renewal(home: Home, name: str, now: datetime) -> x509.CertificateSigningRequest:
    """Return a request for a new certificate for the key of a TSA or responder that an offline root certifies.

    Raises `ContentRefused` for any other member, `NotFound`.
    """
    member = home.roster().member(name)
    above = home.roster().find(member.issuer or "")
    if member.profile not in {"tsa", "ocsp"} or above is None or above.key != KeyPlace.ELSEWHERE:
        raise ContentRefused("Nobody else certifies this.", {"name": "no TSA or responder of a root elsewhere"})
    return request_authority(
        home,
        name,
        profile=member.profile,
        title=member.title,
        algorithm=member.algorithm or algorithm_of(home.keyring.key(name).public_key()),
        test=member.test,
        now=now,
    )


def install_renewal(home: Home, name: str, certificate: x509.Certificate, now: datetime) -> None:
    """Take in what was signed for such a request; raises what `install_authority` raises, and `Conflict`."""
    member = home.roster().member(name)
    if not member.certified or member.issuer is None:
        raise Conflict(f"{name} has no certificate to renew.", {"name": "an authority comes in by a ceremony"})
    install_authority(home, name, member.issuer, certificate, now)


def renew(home: Home, name: str, now: datetime) -> x509.Certificate:
    """Issue a new certificate for the key of `name`, in force when the service starts next.

    The API's takes its hosts from the settings as they are now. Raises `ContentRefused` for anything but an end
    certificate of the service: a CA is not renewed by one person at a terminal.
    """
    roster = home.roster()
    member = roster.find(name)
    if member is None or member.issuer is None or name not in renewable(roster):
        raise ContentRefused("This cannot be renewed here.", {"name": f"one of {', '.join(renewable(roster))}"})
    issuer = home.issuer(member.issuer)
    extensions: Extensions = [(host_names(home.settings.hosts), False)] if member.profile == "server" else []
    prepared = issuer.prepare(
        member.profile,
        subject=home.certificate(name).subject,
        public_key=home.keyring.key(name).public_key(),
        now=now,
        extensions=extensions,
    )
    certificate = issue(home, issuer, prepared, now, {"member": name})
    place(home, name, certificate)
    return certificate
