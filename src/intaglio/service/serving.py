"""The members of the hierarchy at work: their keys opened, by name; more may come while the service runs."""

import asyncio
from datetime import timedelta

import msgspec

from intaglio.pki.hierarchy import Family, Hierarchy, KeyPlace, Member, Roster
from intaglio.pki.issuer import Issuer
from intaglio.pki.profiles import PROFILES, policy_oid
from intaglio.revocation.ocsp import Responder
from intaglio.revocation.register import serial_text
from intaglio.service.home import Home
from intaglio.timestamping.authority import Authority


class Opened(msgspec.Struct, frozen=True):
    """Members opened and not yet at work, and the roster they are of."""

    roster: Roster
    issuers: dict[str, Issuer]
    responders: dict[str, Responder]
    authorities: dict[str, Authority]
    certificates: dict[str, tuple[str, str]]


class Serving:
    """Who is at work, in mappings that others hold and only this changes, on the event loop.

    Members come and do not go: what was issued is answered for. `certificates` holds issuer and serial number of each
    issuing CA's and TSA's own certificate, `news` is set when something administrative has changed.
    """

    def __init__(self) -> None:
        self.families: dict[Hierarchy, Family] = {}
        self.revoked: set[str] = set()
        self.above: dict[str, str] = {}
        self.issuers: dict[str, Issuer] = {}
        self.responders: dict[str, Responder] = {}
        self.authorities: dict[str, Authority] = {}
        self.certificates: dict[str, tuple[str, str]] = {}
        self.roster: Roster | None = None
        self.news = asyncio.Event()

    def open(self, home: Home, roster: Roster) -> Opened:
        """Return the members of `roster` that are not at work yet, with their keys; raises `KeyUnavailable`."""
        settings = home.settings
        leaf = timedelta(hours=settings.status.leaf_hours)
        authority = timedelta(hours=settings.status.authority_hours)
        answering = [one for one in roster.authorities if _here(roster.find(one.responder))]
        stamping = {family.tsa for family in roster.families.values()} - {None}
        return Opened(
            roster,
            {
                one.name: home.issuer(one.name, recording=False)
                for one in roster.authorities
                if one.key == KeyPlace.HERE and one.name not in self.issuers
            },
            {
                one.name: Responder(
                    home.certificate(one.name),
                    home.certificate(one.responder),
                    home.keyring.key(one.responder),
                    authority if one.profile == "root" else leaf,
                    test=one.test,
                )
                for one in answering
                if one.name not in self.responders
            },
            {
                one.name: _stamping(home, one)
                for one in roster.members
                if one.name in stamping and one.name not in self.authorities
            },
            {
                one.name: (one.issuer, serial_text(home.certificate(one.name).serial_number))
                for one in roster.members
                if one.profile in {"issuing", "tsa"} and one.certified and one.issuer is not None
            },
        )

    def take(self, opened: Opened) -> None:
        """Put opened members to work, and then those who serve into their places."""
        self.issuers.update(opened.issuers)
        self.responders.update(opened.responders)
        self.authorities.update(opened.authorities)
        self.certificates.update(opened.certificates)
        self.above.update({name: issuer for name, (issuer, _) in opened.certificates.items()})
        here = {one.name for one in opened.roster.authorities if one.key == KeyPlace.HERE}
        for gone in self.issuers.keys() - here:
            del self.issuers[gone]
        self.families.update(opened.roster.families)
        self.roster = opened.roster


def _here(member: Member | None) -> bool:
    return member is not None and member.certified and member.key == KeyPlace.HERE


def _stamping(home: Home, member: Member) -> Authority:
    return Authority(
        certificate=home.certificate(member.name),
        chain=[home.certificate(member.issuer or "")],
        key=home.keyring.key(member.name),
        policy=policy_oid(home.settings.policy_arc, PROFILES["tsa"].policy or "any", test=member.test).dotted_string,
        accuracy=timedelta(milliseconds=home.settings.timestamp.accuracy_ms),
    )
