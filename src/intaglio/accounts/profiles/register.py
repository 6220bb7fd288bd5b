"""The register of profiles: those that an operator added, every version of them, and which are stopped."""

import hashlib
from datetime import datetime

import msgspec
from sqlalchemy import Column, Connection, Integer, LargeBinary, String, Table, delete, desc, func, select

from intaglio.database.engine import bump_revision
from intaglio.database.schema import Instant, metadata
from intaglio.errors import Conflict, NotFound
from intaglio.pki.profiles import PACKAGED, SIGNING, Profile

profiles = Table(
    "signing_profiles",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("author", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
)

stops = Table(
    "profile_stops",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("rule", String(128), nullable=False),
    Column("stopped_at", Instant, nullable=False),
)


class Version(msgspec.Struct, frozen=True):
    """One version of a profile: its file, and who added it; `author` is None of those that come with the service."""

    name: str
    version: int
    document: str
    sha256: str
    author: str | None
    created_at: datetime | None


class Stop(msgspec.Struct, frozen=True):
    """A profile that issues nothing since then, because of a rule that it broke."""

    name: str
    version: int
    rule: str
    stopped_at: datetime


def sha256_of(document: bytes) -> str:
    """Return by what entries name a profile's file, hex."""
    return hashlib.sha256(document).hexdigest()


def find(connection: Connection, name: str) -> Profile:
    """Return the newest version of a profile; raises `NotFound`."""
    if name in SIGNING:
        return SIGNING[name]
    document = connection.execute(
        select(profiles.c.document).where(profiles.c.name == name).order_by(desc(profiles.c.version)).limit(1)
    ).scalar_one_or_none()
    if document is None:
        raise NotFound("There is no such profile.", {"profile": f"{name[:64]}: not found"})
    # It was checked when it was added.
    return msgspec.toml.decode(document, type=Profile)


def every(connection: Connection) -> list[Profile]:
    """Return the newest version of each profile, by name, those that come with the service first."""
    names = connection.execute(select(profiles.c.name).distinct().order_by(profiles.c.name)).scalars()
    return [*SIGNING.values(), *(find(connection, name) for name in list(names))]


def history(connection: Connection, name: str) -> list[Version]:
    """Return every version of a profile, oldest first; raises `NotFound`."""
    if name in PACKAGED:
        document = PACKAGED[name]
        return [Version(name, SIGNING[name].version, document.decode(), sha256_of(document), None, None)]
    rows = connection.execute(select(profiles).where(profiles.c.name == name).order_by(profiles.c.version))
    found = [
        Version(row.name, row.version, bytes(row.document).decode(), row.sha256, row.author, row.created_at)
        for row in rows
    ]
    if not found:
        raise NotFound("There is no such profile.", {"profile": f"{name[:64]}: not found"})
    return found


def add(connection: Connection, profile: Profile, document: bytes, author: str, now: datetime) -> None:
    """Write the next version of a profile; raises `Conflict` when that is another."""
    newest = connection.execute(
        select(func.max(profiles.c.version)).where(profiles.c.name == profile.name)
    ).scalar_one_or_none()
    following = (newest or 0) + 1
    if profile.version != following:
        raise Conflict("The profile has another version than the next.", {"version": f"must be {following}"})
    connection.execute(
        profiles.insert(),
        {
            "name": profile.name,
            "version": profile.version,
            "document": document,
            "sha256": sha256_of(document),
            "author": author[:64],
            "created_at": now,
        },
    )
    bump_revision(connection)


def stopped(connection: Connection, name: str) -> Stop | None:
    """Return why a profile issues nothing, or None if it does."""
    row = connection.execute(select(stops).where(stops.c.name == name)).one_or_none()
    return None if row is None else Stop(row.name, row.version, row.rule, row.stopped_at)


def every_stop(connection: Connection) -> list[Stop]:
    """Return all that are stopped."""
    rows = connection.execute(select(stops).order_by(stops.c.name))
    return [Stop(row.name, row.version, row.rule, row.stopped_at) for row in rows]


def stop(connection: Connection, found: Stop) -> bool:
    """Have a profile issue nothing more; return whether it did before."""
    if stopped(connection, found.name) is not None:
        return False
    connection.execute(stops.insert(), msgspec.structs.asdict(found))
    bump_revision(connection)
    return True


def resume(connection: Connection, name: str) -> Stop:
    """Have a profile issue again, and return why it did not; raises `NotFound`, or `Conflict` if it does."""
    find(connection, name)
    found = stopped(connection, name)
    if found is None:
        raise Conflict("The profile is not stopped.", {"profile": "is in use"})
    connection.execute(delete(stops).where(stops.c.name == name))
    bump_revision(connection)
    return found
