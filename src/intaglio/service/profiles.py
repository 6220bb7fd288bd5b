"""Profiles of signers, tried under the CAs of a home before anything real is signed by them."""

from datetime import datetime

import msgspec

from intaglio.errors import Conflict
from intaglio.keys.algorithm import KeyAlgorithm, PublicKey, algorithm_of
from intaglio.pki import public_key
from intaglio.pki.hierarchy import Hierarchy
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
