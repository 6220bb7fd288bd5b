"""Profiles of signers, tried under the CAs of a home before anything real is signed by them."""

from datetime import datetime

import msgspec
from sqlalchemy import Connection

from intaglio.accounts.profiles import accreditation, register
from intaglio.database.engine import transaction
from intaglio.errors import Conflict, ContentRefused, RuleBroken
from intaglio.keys.algorithm import KeyAlgorithm, PublicKey, algorithm_of
from intaglio.ledger.entry import Event
from intaglio.pki import lint, public_key
from intaglio.pki.hierarchy import Hierarchy
from intaglio.pki.lint import Accreditation
from intaglio.pki.profiles import Profile
from intaglio.revocation.trial import Authority, Found, trial
from intaglio.service.home import Home


def examine(home: Home, profile: Profile, now: datetime) -> list[Found]:
    """Return what pkilint and our own rules find in all that the active issuing CAs would sign under a profile.

    What is qualified is never of a CA for tests. Raises `Conflict` when there is no CA to try it with.
    """
    found: list[Found] = []
    roster = home.roster()
    names = [roster.family(hierarchy).issuing for hierarchy in Hierarchy]
    tried = [
        _authority(home, name, test=roster.member(name).test)
        for name in names
        if name is not None and not (profile.qualified and roster.member(name).test)
    ]
    if not tried:
        raise Conflict("There is no issuing CA to try the profile with.", {"profile": "no issuing CA is active"})
    for authority in tried:
        found += [
            msgspec.structs.replace(one, of=f"{one.of}, by {authority.name}")
            for one in trial(profile, authority, home.places, now)
        ]
    return found


def check_usable(home: Home, connection: Connection, profile: Profile, hierarchy: Hierarchy, now: datetime) -> None:
    """Raise `ContentRefused` with the reason why nothing would be issued under a profile in a hierarchy.

    That is not known as long as no issuing CA is active there.
    """
    stop = register.stopped(connection, profile.name)
    if stop is not None:
        raise _refused(profile, f"is stopped: it breaks {stop.rule}")
    issuing = home.roster().family(hierarchy).issuing
    if issuing is None:
        return
    test = hierarchy == Hierarchy.TEST
    extensions = [*profile.constant_extensions(home.places, test=test), *profile.published(home.places, issuing)]
    found = accreditation.find(connection, issuing)
    level = Accreditation.NONE if found is None or test else found.level(now)
    try:
        lint.check_profile(profile, extensions, home.certificate(issuing).subject)
        lint.check_accredited(profile, level)
    except RuleBroken as error:
        raise _refused(profile, f"{error} ({issuing})") from error


def check_trial(home: Home, profile: Profile, sha256: str, now: datetime) -> None:
    """Raise `ContentRefused` naming what a trial of a profile finds, which is then recorded."""
    found = examine(home, profile, now)
    if not found:
        return
    rules = {one.rule: one.of for one in found}
    details = {"profile": profile.name, "version": profile.version, "sha256": sha256, "rules": sorted(rules)}
    with transaction(home.engine) as connection:
        event = Event(now, "lint.refused", reference=profile.name, details={**details, "rule": min(rules)})
        home.chain.append(connection, [event])
    raise ContentRefused("What would be signed under the profile breaks rules.", rules)


def check_accreditable(home: Home, issuer: str) -> None:
    """Raise `ContentRefused` unless an issuing CA could be accredited: it is one, and not for tests."""
    member = home.roster().member(issuer)
    if member.profile != "issuing" or not member.certified:
        raise ContentRefused("Only an issuing CA is accredited.", {"issuer": f"{issuer} is none"})
    if member.test:
        raise ContentRefused("A CA for tests is never accredited.", {"issuer": f"{issuer} is for tests"})


def _refused(profile: Profile, reason: str) -> ContentRefused:
    return ContentRefused(f"The profile {profile.name} cannot be used.", {"profile": reason})


def _authority(home: Home, name: str, *, test: bool) -> Authority:
    certificate = home.certificate(name)
    key = public_key.check(certificate.public_key(), name)
    return Authority(name, certificate.subject, _algorithm(key), test)


def _algorithm(key: PublicKey) -> KeyAlgorithm:
    try:
        return algorithm_of(key)
    except ValueError:
        # A key of another size, from elsewhere: the algorithm of its signatures is the same.
        return KeyAlgorithm.RSA_4096
