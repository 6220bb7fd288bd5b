"""Time-stamps on heads of the ledger: one a minute, while anything but stamps is new."""

import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from sqlalchemy import Connection

from intaglio.errors import ClockUntrusted, Conflict, IntaglioError, IssuanceRefused, Malformed
from intaglio.ledger import outside, stamps, tree, writer
from intaglio.ledger.entry import Event
from intaglio.ledger.stamps import STAMPED, Stamp
from intaglio.ledger.tree import Signed
from intaglio.pki.hierarchy import Hierarchy
from intaglio.service.home import Home
from intaglio.signing.engine import Engine
from intaglio.timestamping import token
from intaglio.timestamping.tsp import sha256_imprint

_log = logging.getLogger("intaglio.ledger")

# How often it is looked whether a minute is over.
STAMPING_SECONDS = 5.0
_EVERY = timedelta(minutes=1)


def imprint(note: str) -> bytes:
    """Return what is stamped of a head: the SHA-256 of its signed note."""
    return hashlib.sha256(note.encode()).digest()


def stamp_heads(home: Home, engine: Engine) -> Callable[[], Awaitable[None]]:
    """Return what has the newest head stamped if it is time, each time it is called."""
    told = ""

    async def work() -> None:
        nonlocal told
        now = engine.clock.now()
        try:
            # Where nothing can stamp, nothing is asked.
            engine.stamping(Hierarchy.PRODUCTION)
            head = await engine.commits.read(lambda connection: due(connection, now))
            if head is None:
                return
            await stamp(home, engine, head, now)
        except (IssuanceRefused, ClockUntrusted) as error:
            # It lasts: once is enough.
            if str(error) != told:
                told = str(error)
                _log.warning("heads of the ledger are not stamped: %s", error)
        else:
            told = ""

    return work


def due(connection: Connection, now: datetime) -> Signed | None:
    """Return the head that is to be stamped now, if any; a stamp by a clock that was far ahead keeps none away."""
    last, head = stamps.latest(connection), tree.newest(connection)
    if head is None or (last is not None and (last.size >= head.size or abs(now - last.at) < _EVERY)):
        return None
    begun = 0 if last is None else last.size
    return head if stamps.worth_stamping(connection, begun, head.size) else None


async def stamp(home: Home, engine: Engine, head: Signed, now: datetime) -> None:
    """Stamp a head by the TSA of production, with its entry in one transaction, and keep the stamp outside, too.

    Raises a `ServiceFault` while there is no TSA, or its key or the time cannot be had.
    """
    engine.trust.check(now)
    tsa, serial = engine.stamping(Hierarchy.PRODUCTION), engine.stamps.serial()
    # Not before what has left any process until now.
    time = max(now, await engine.commits.read(engine.stamps.latest))
    der = await engine.lanes.run(engine.authorities[tsa].stamp, sha256_imprint(imprint(head.note)), serial, time)
    made = Stamp(head.size, tsa, now, der)
    event = entry_of(made, token.opened(der))

    def write(connection: Connection) -> None:
        (outcome,) = engine.spending.stamp(connection, [event])
        if isinstance(outcome, IntaglioError):
            raise outcome
        stamps.add(connection, made)

    await engine.commits.write(write)
    await outside.keep(home.path / home.settings.ledger.heads, made)


def entry_of(made: Stamp, found: token.Token) -> Event:
    """Return what is recorded of a stamp: enough to know it from any other that its authority may make."""
    details = {"tsa": made.authority, "size": made.size, "imprint": found.imprint.hex(), "time": found.time}
    # Serial numbers of others are of any length up to 160 bits, and may be negative where they are wrong.
    return Event(made.at, STAMPED, reference=f"{found.serial:x}"[:64], details=details)


def judge(home: Home) -> Callable[[Connection, Stamp, str], None]:
    """Return what raises `Malformed` unless a stamp holds.

    It is over a head's note, by an authority under a root of production here, or for foreign ones under one of theirs,
    and the one that its entry tells of.
    """
    ours = roots(home)
    foreign = foreign_roots(home)

    def check(connection: Connection, made: Stamp, note: str) -> None:
        found = token.opened(made.token)
        if found.imprint != imprint(note):
            raise Malformed("The time-stamp is over another head.", {"stamp": "has another imprint"})
        token.check_chain(found, foreign if "://" in made.authority else ours)
        event = entry_of(made, found)
        details = msgspec.to_builtins(event.details)
        told = writer.entries(connection, event.reference or "", STAMPED)
        if not any(one.at == made.at and msgspec.json.decode(one.body)["details"] == details for one in told):
            raise Malformed("The time-stamp is not on record.", {"stamp": "no entry tells of this one"})

    return check


def roots(home: Home) -> Sequence[x509.Certificate]:
    """Return the certificates of the roots of production."""
    members = (one for one in home.roster().authorities if one.profile == "root" and not one.test)
    return [home.certificate(one.name) for one in members]


def foreign_roots(home: Home) -> Sequence[x509.Certificate]:
    """Return the certificates that foreign time-stamps must lead to; raises `Conflict` if they cannot be read."""
    place = home.settings.ledger.foreign_tsa_roots
    if place is None:
        return ()
    try:
        return x509.load_pem_x509_certificates((home.path / place).read_bytes())
    except (OSError, ValueError) as error:
        raise Conflict(f"{home.path / place} has no certificates.", {"ledger.foreign_tsa_roots": str(error)}) from error
