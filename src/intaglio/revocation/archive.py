"""Serial numbers of certificates that ended long ago, packed: of each it is known that it was issued, or only planned.

A block holds, in order, all that is archived from its `first` on to before the `first` of the next. So there is one
block in which a serial number can be, and it is in it or was never drawn: nothing is a guess.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Integer, LargeBinary, String, Table, bindparam, delete, desc, func, select

from intaglio.database.schema import Instant, metadata, moment
from intaglio.database.statement import Statement
from intaglio.errors import StoreUnavailable

# 4 KiB are read to answer for one of them.
MOST_IN_BLOCK = 256
_OCTETS = 20
DIGITS = 2 * _OCTETS

blocks = Table(
    "archived_serials",
    metadata,
    Column("issuer", String(32), primary_key=True),
    Column("first", String(DIGITS), primary_key=True),
    Column("last", String(DIGITS), nullable=False),
    # The ends of the times of all that is in it.
    Column("begins", Instant, nullable=False),
    Column("ends", Instant, nullable=False),
    # What they all begin with is left out: each has so many octets.
    Column("width", Integer, nullable=False),
    Column("issued", LargeBinary, nullable=False),
    Column("planned", LargeBinary, nullable=False),
)


class Archived(msgspec.Struct, frozen=True, order=True):
    """A serial number, in hex of 40 digits; its certificate's time is within `begins` and `ends`."""

    serial: str
    planned: bool
    begins: datetime
    ends: datetime


_at = Statement(
    select(blocks)
    .where(blocks.c.issuer == bindparam("of"), blocks.c.first <= bindparam("number"))
    .order_by(desc(blocks.c.first))
    .limit(1)
)
_newest = Statement(
    select(blocks.c.last).where(blocks.c.issuer == bindparam("of")).order_by(desc(blocks.c.first)).limit(1)
)


class _Block(msgspec.Struct, frozen=True):
    issuer: str
    first: str
    last: str
    begins: datetime
    ends: datetime
    width: int
    issued: bytes
    planned: bytes

    def holds(self, packed: bytes, serial: str) -> bool:
        """Return whether a serial number is among those packed."""
        left_out = DIGITS - 2 * self.width
        if serial[:left_out] != self.first[:left_out]:
            return False
        wanted, width = bytes.fromhex(serial[left_out:]), self.width

        def at(place: int) -> bytes:
            return packed[place * width : (place + 1) * width]

        number = len(packed) // width
        place = bisect_left(range(number), wanted, key=at)
        return place < number and at(place) == wanted

    def members(self) -> list[Archived]:
        """Return all that is in it, in order."""
        left_out, width = self.first[: DIGITS - 2 * self.width], self.width
        return sorted(
            Archived(left_out + packed[place : place + width].hex(), planned, self.begins, self.ends)
            for planned, packed in ((False, self.issued), (True, self.planned))
            for place in range(0, len(packed), width)
        )


def find(connection: Connection, issuer: str, serial: str) -> Archived | None:
    """Return what is known of a serial number, or None when it is not archived."""
    block = _block(connection, issuer, serial) if len(serial) == DIGITS else None
    if block is None:
        return None
    planned = block.holds(block.planned, serial)
    if not planned and not block.holds(block.issued, serial):
        return None
    return Archived(serial, planned, block.begins, block.ends)


def put(connection: Connection, issuer: str, new: Iterable[Archived]) -> None:
    """Archive serial numbers; what is archived already stays as it is."""
    waiting = sorted(new)
    while waiting:
        block, until = (
            _block(connection, issuer, waiting[0].serial),
            _first_after(connection, issuer, waiting[0].serial),
        )
        share = [one for one in waiting if until is None or one.serial < until]
        waiting = waiting[len(share) :]
        old = [] if block is None else block.members()
        if block is not None and len(old) >= MOST_IN_BLOCK and share[0].serial > block.last:
            # What comes behind a full block begins the next.
            block, old = None, []
        known = {one.serial for one in old}
        _replace(connection, issuer, block, sorted([*old, *(one for one in share if one.serial not in known)]))


def take(connection: Connection, issuer: str, serial: str) -> None:
    """Take a serial number out of the archive."""
    block = _block(connection, issuer, serial)
    if block is not None:
        _replace(connection, issuer, block, [one for one in block.members() if one.serial != serial])


def among(connection: Connection, issuer: str, serials: Sequence[str]) -> str | None:
    """Return one of these that is archived, or None; new ones come after all that is, and then one look is enough."""
    newest = _newest.run(connection, [{"of": issuer}]).scalar_one_or_none()
    if newest is None or newest < min(serials):
        return None
    return next((serial for serial in serials if find(connection, issuer, serial) is not None), None)


def _block(connection: Connection, issuer: str, serial: str) -> _Block | None:
    row: Any = _at.run(connection, [{"of": issuer, "number": serial}]).one_or_none()
    if row is None:
        return None
    of, first, last, begins, ends, width, issued, planned = row
    return _Block(of, first, last, moment(begins), moment(ends), width, bytes(issued), bytes(planned))


def _first_after(connection: Connection, issuer: str, serial: str) -> str | None:
    """Return where the block after the one of a serial number begins, or None if there is none."""
    later = select(func.min(blocks.c.first)).where(blocks.c.issuer == issuer, blocks.c.first > serial)
    found: str | None = connection.execute(later).scalar_one()
    return found


def _replace(connection: Connection, issuer: str, block: _Block | None, members: list[Archived]) -> None:
    """Write members in blocks of their own, in the place of the one that some of them were in."""
    if block is not None:
        read = (blocks.c.issuer == issuer, blocks.c.first == block.first, blocks.c.last == block.last)
        if connection.execute(delete(blocks).where(*read)).rowcount != 1:
            raise StoreUnavailable(f"the archive of {issuer} changed while it was written")
    shares = [members[place : place + MOST_IN_BLOCK] for place in range(0, len(members), MOST_IN_BLOCK)]
    if shares:
        connection.execute(blocks.insert(), [_packed(issuer, share) for share in shares])


def _packed(issuer: str, members: list[Archived]) -> dict[str, object]:
    first, last = (bytes.fromhex(members[place].serial) for place in (0, -1))
    # In order, what the first and the last begin with is what all do. One octet is left at least.
    same = next((place for place in range(_OCTETS - 1) if first[place] != last[place]), _OCTETS - 1)
    issued, planned = (
        b"".join(bytes.fromhex(one.serial[2 * same :]) for one in members if one.planned is kind)
        for kind in (False, True)
    )
    return {
        "issuer": issuer,
        "first": members[0].serial,
        "last": members[-1].serial,
        "begins": min(one.begins for one in members),
        "ends": max(one.ends for one in members),
        "width": _OCTETS - same,
        "issued": issued,
        "planned": planned,
    }
