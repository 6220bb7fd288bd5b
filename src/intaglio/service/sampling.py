"""pkilint on what was issued last, in a process of its own: `python -m intaglio.service.sampling HOME SECONDS WHAT`.

What a single request brought about is recorded. What the profile brings about, as a trial of it shows, stops the
profile: nothing more is issued under it until somebody resumes it.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from intaglio import logs
from intaglio.accounts import register as accounts
from intaglio.accounts.kinds import PROFILE_OF
from intaglio.accounts.profiles import changes, choice
from intaglio.accounts.profiles import register as profiles
from intaglio.accounts.profiles.register import Stop
from intaglio.database.engine import reading, transaction
from intaglio.database.tenure import Tenure
from intaglio.errors import Conflict, IntaglioError, NotFound
from intaglio.keys.priority import give_way
from intaglio.keys.seclusion import seclude
from intaglio.ledger.entry import Event
from intaglio.pki import linter
from intaglio.pki.hierarchy import Hierarchy
from intaglio.pki.profiles import Profile
from intaglio.revocation import register
from intaglio.service import child
from intaglio.service.home import Home, open_home
from intaglio.service.profiles import examine

_log = logging.getLogger("intaglio.service")

# Of each issuing CA, each time.
_MOST = 25


class Found(msgspec.Struct, frozen=True):
    """A rule that a certificate or list of `issuer` breaks; `reference` is its serial number, or its number."""

    rule: str
    place: str
    issuer: str
    reference: str
    profile: str | None = None


@asynccontextmanager
async def sampling(home: Home) -> AsyncIterator[None]:
    """Have samples looked at for as long as the block lasts, unless this node looks at none, or another does."""
    seconds = home.settings.profiles.sample_seconds
    if seconds == 0:
        yield
        return
    tenure = Tenure(home.engine, "sampling")
    await asyncio.to_thread(tenure.start)
    async with child.kept(_keep_sampling(home.path, seconds, tenure), "sampling"):
        yield
    await asyncio.to_thread(tenure.stop)


async def _keep_sampling(path: Path, seconds: int, tenure: Tenure) -> None:
    # What is new in this version, and the CAs that are active by now, were perhaps never tried together.
    what = "profiles"
    while True:
        await asyncio.sleep(seconds)
        if not tenure.held:
            continue
        ended = await child.run("intaglio.service.sampling", str(path), str(seconds), what)
        what = "latest"
        if ended != 0:
            _log.warning("the sample of certificates was not looked at (%s)", ended)


def look(home: Home, since: datetime, now: datetime) -> list[Found]:
    """Look at certificates issued since then, and at the CRLs of their issuers; record and return what is found.

    Profiles of which a trial finds the same are stopped.
    """
    with reading(home.engine) as connection:
        certificates, lists = _sample(home, connection, since)
        known = {one.profile: _profile(connection, one.profile) for one, _ in certificates}
    found: list[Found] = []
    for standing, der in certificates:
        profile = known[standing.profile]
        broken = linter.certificate(der, etsi=profile is not None and profile.naming is not None)
        found += _told(home, broken, standing.issuer, standing.serial, standing.profile)
    for one in lists:
        found += _told(home, linter.revocation_list(one.der), one.issuer, str(one.number))
    _record(home, found, now)
    for name in sorted({one.profile for one in found if one.profile is not None}):
        profile = known[name]
        if profile is not None:
            stop_if(home, profile, {one.rule for one in found if one.profile == name}, now)
    return found


def stop_if(home: Home, profile: Profile, rules: Iterable[str] | None, now: datetime) -> Stop | None:
    """Stop a profile if a trial of it breaks one of `rules`, or with None any; return why, or None if it goes on."""
    try:
        # Our own rules refuse each certificate as long as they are broken, and no longer.
        tried = {one.rule for one in examine(home, profile, now) if not one.own}
    except Conflict:  # no CA is there that could issue under it
        return None
    broken = tried if rules is None else tried.intersection(rules)
    if not broken:
        return None
    stop = Stop(profile.name, profile.version, min(broken)[:128], now)
    with transaction(home.engine) as connection:
        fresh = changes.stop_profile(connection, home.chain, stop)
    if fresh:
        _log.error("the profile %s is stopped: it breaks %s", stop.name, stop.rule)
    return stop


def look_at_profiles(home: Home, now: datetime) -> list[Stop]:
    """Try every profile that an account has; stop and return those that break a rule."""
    with reading(home.engine) as connection:
        chosen = {one.profile or PROFILE_OF[one.kind]: one for one in accounts.every(connection)}
        used = [choice.of(connection, one) for _, one in sorted(chosen.items())]
    return [stop for profile in used if (stop := stop_if(home, profile, None, now)) is not None]


def _sample(
    home: Home, connection: Connection, since: datetime
) -> tuple[list[tuple[register.Standing, bytes]], list[register.RevocationList]]:
    families = [home.roster().family(hierarchy) for hierarchy in Hierarchy]
    issuers = {name for family in families for name in (family.issuing, family.before) if name is not None}
    certificates = [
        (standing, der)
        for issuer in sorted(issuers)
        for standing, der in register.newest(connection, issuer, _MOST)
        # Those of responders are not of signers, and were looked at by whoever made them.
        if standing.not_before >= since and standing.account_id is not None
    ]
    lists = [register.latest_list(connection, issuer) for issuer in sorted(issuers)]
    return certificates, [one for one in lists if one is not None and one.this_update >= since]


def _profile(connection: Connection, name: str) -> Profile | None:
    try:
        return profiles.find(connection, name)
    except NotFound:  # of a version before, with other names
        return None


def _told(
    home: Home, broken: list[linter.Finding], issuer: str, reference: str, profile: str | None = None
) -> list[Found]:
    unexplained = linter.unexplained(broken, local=home.places.local)
    return [Found(one.rule, one.place, issuer, reference, profile) for one in unexplained]


def _record(home: Home, found: list[Found], now: datetime) -> None:
    if found:
        events = [Event(now, "lint.found", None, one.reference, None, msgspec.structs.asdict(one)) for one in found]
        with transaction(home.engine) as connection:
            home.chain.append(connection, events)
        for one in found:
            _log.error("what %s signed breaks %s: see lint.found in the ledger", one.issuer, one.rule)


def main() -> None:
    """Look once: at what was issued in the last seconds, and if WHAT is "profiles" at the profiles in use first."""
    seclude()
    # It must not step back wholly: when something is found it commits, and others wait for that.
    give_way()
    home = open_home(Path(sys.argv[1]), actor="sampling")
    logs.configure(home.settings.log.level)
    now = datetime.now(UTC)
    try:
        if sys.argv[3] == "profiles":
            look_at_profiles(home, now)
        # A little more than since the last time: a start takes a while.
        look(home, now - timedelta(seconds=int(sys.argv[2]) + 10), now)
    except IntaglioError as error:
        _log.warning("the sample of certificates was not looked at: %s", error)
        raise SystemExit(1) from error
    finally:
        home.close()


if __name__ == "__main__":
    main()
