"""Which profile an account has: the one that was chosen for it, or that of its kind."""

from sqlalchemy import Connection

from intaglio.accounts.kinds import PROFILE_OF, Kind
from intaglio.accounts.profiles import register
from intaglio.accounts.register import Account
from intaglio.errors import ContentRefused
from intaglio.pki.profiles import PROFILES, Profile


def of(connection: Connection, account: Account) -> Profile:
    """Return the profile of an account, in its newest version."""
    return register.find(connection, account.profile or PROFILE_OF[account.kind])


def check_holder(profile: Profile, kind: Kind) -> None:
    """Raise `ContentRefused` for a profile of persons for a seal, or the other way round."""
    holder = PROFILES[PROFILE_OF[kind]].holder
    if profile.holder != holder:
        raise ContentRefused("The profile cannot be chosen.", {"profile": f"is for a {profile.holder}: not for {kind}"})
