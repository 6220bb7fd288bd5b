"""Moving what ended long ago from the register into the archive, so many at a time, and none is ever in neither."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, update

from intaglio.database.commits import Commits
from intaglio.database.schema import revision
from intaglio.errors import StoreUnavailable
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.pki.issuer import drawn_from
from intaglio.revocation import archive
from intaglio.revocation.archive import Archived
from intaglio.revocation.register import State, certificates, serial_text

# Others wait for the commit of so many, some hundredths of a second; in between they come to it.
_MOST_TOGETHER = archive.MOST_IN_BLOCK
_PAUSE_SECONDS = 0.05
# The schema that has the archive.
_SINCE = "0017"


async def archive_ended(commits: Commits, chain: Chain, issuers: Iterable[str], before: datetime, now: datetime) -> int:
    """Archive what these CAs issued to accounts and what ended `before`, and what was planned and never issued.

    Return how many. What was revoked stays in the register, and so do the service's own certificates.
    """
    moved = 0
    for issuer in issuers:
        after = ""
        while found := await commits.read(partial(_ended, issuer=issuer, after=after, before=before)):
            moved += await commits.write(
                partial(_move, chain=chain, issuer=issuer, serials=found, before=before, now=now)
            )
            if len(found) < _MOST_TOGETHER:
                break
            after = found[-1]
            await asyncio.sleep(_PAUSE_SECONDS)
    return moved


def _over(issuer: str, before: datetime) -> ColumnElement[bool]:
    of_signers = and_(certificates.c.state == State.ISSUED, certificates.c.account_id.is_not(None))
    # Reserved, and never used: nothing is said of it but its number.
    reserved = and_(certificates.c.state == State.PLANNED, certificates.c.profile == "")
    return and_(
        certificates.c.issuer == issuer,
        certificates.c.not_after < before,
        func.length(certificates.c.serial) == archive.DIGITS,
        or_(of_signers, reserved),
    )


def _ended(connection: Connection, *, issuer: str, after: str, before: datetime) -> list[str]:
    # Serial numbers begin with the time: what was drawn later is not looked at.
    until = serial_text(drawn_from(before))
    query = select(certificates.c.serial).where(
        _over(issuer, before), certificates.c.serial > after, certificates.c.serial < until
    )
    return list(connection.execute(query.order_by(certificates.c.serial).limit(_MOST_TOGETHER)).scalars())


def _move(
    connection: Connection, *, chain: Chain, issuer: str, serials: Sequence[str], before: datetime, now: datetime
) -> int:
    # Some may have been revoked meanwhile.
    here = and_(_over(issuer, before), certificates.c.serial.in_(serials))
    query = select(
        certificates.c.serial, certificates.c.state, certificates.c.not_before, certificates.c.not_after
    ).where(here)
    found = [
        Archived(row.serial, row.state == State.PLANNED, row.not_before, row.not_after)
        for row in connection.execute(query)
    ]
    if not found:
        return 0
    archive.put(connection, issuer, found)
    # A version that does not know the archive would answer that it never drew them.
    connection.execute(update(revision).where(revision.c.oldest < _SINCE).values(oldest=_SINCE))
    if connection.execute(delete(certificates).where(here)).rowcount != len(found):
        raise StoreUnavailable(f"what {issuer} issued changed while it was archived")
    details = {
        "issuer": issuer,
        "number": len(found),
        "first": min(one.serial for one in found),
        "last": max(one.serial for one in found),
    }
    chain.append(connection, [Event(now, "certificates.archived", reference=issuer, details=details)])
    return len(found)
