"""What time-stamps owe to each other, over all processes: serial numbers nobody else has, times that do not go back."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

from sqlalchemy import Column, Connection, Index, String, Table, bindparam, case, exists, func, select, update
from sqlalchemy.exc import IntegrityError

from intaglio.clock.oscillator import raw_seconds
from intaglio.database.schema import Instant, metadata
from intaglio.database.statement import Statement
from intaglio.errors import ClockUntrusted, StoreUnavailable

# A row for each process that ever stamped, and the last time that it told. They stay: no id comes twice.
stampers = Table(
    "stampers",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("told", Instant, nullable=False),
    Index("stampers_told", "told"),
)

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_ID_BITS, _COUNT_BITS, _CHANCE_BITS = 64, 48, 46
_DRAWS = 3
_COMPANY_SECONDS = 1.0

_others = stampers.alias("others")
_own = update(stampers).where(stampers.c.id == bindparam("stamper"))
_now = bindparam("now", type_=Instant)
_later = case((stampers.c.told > _now, stampers.c.told), else_=_now)
_tell_late = Statement(_own.values(told=_later))
_tell = Statement(_own.where(~exists().where(_others.c.told > bindparam("oldest", type_=Instant))).values(told=_later))


class Stamps:
    """The time-stamps of one process, by an id that is on record and nobody else's."""

    def __init__(self, accuracy: timedelta) -> None:
        self._accuracy = accuracy
        self._id = 0
        self._count = count()
        # When another process was last seen to be ahead.
        self._accompanied = float("-inf")

    def begin(self, connection: Connection) -> None:
        """Have an id on record; raises `StoreUnavailable` when each that is drawn is somebody's already."""
        for _ in range(_DRAWS):
            drawn = secrets.randbits(_ID_BITS)
            try:
                with connection.begin_nested():
                    connection.execute(stampers.insert(), {"id": f"{drawn:016x}", "told": _NEVER})
            except IntegrityError:
                continue
            self._id = drawn
            return
        raise StoreUnavailable("the source of random numbers repeats itself")

    def serial(self) -> int:
        """Return a serial number of 159 bits that no other time-stamp has (RFC 3161 §2.4.2: at most 160).

        It is this process's id and how many it has made, so that it is unique whatever chance brings; the rest is
        chance, so that the next one is not known.
        """
        number = 1 << _ID_BITS | self._id
        number = number << _COUNT_BITS | next(self._count)
        return number << _CHANCE_BITS | secrets.randbits(_CHANCE_BITS)

    @property
    def alone(self) -> bool:
        """Whether a time taken now is likely to stand: no other process has told a later one in the last second."""
        return raw_seconds() > self._accompanied + _COMPANY_SECONDS

    def tell(self, connection: Connection, times: Sequence[datetime]) -> list[datetime | ClockUntrusted]:
        """Answer for each time, taken just now, what is to be told in its place, and have that on record.

        It is the time itself, or what was told before by any process if that is later; or why nothing can be told,
        because it is later by more than the accuracy. One statement does for all as long as there is nothing later.
        What another process commits at the same time is not seen, and has not left it either.
        """
        row = {"stamper": f"{self._id:016x}", "now": max(times), "oldest": min(times)}
        if _tell.run(connection, [row]).rowcount == 1:
            return list(times)
        latest = self.latest(connection)
        outcomes: list[datetime | ClockUntrusted] = [
            max(time, latest)
            if latest <= time + self._accuracy
            else ClockUntrusted(f"{latest} was told, and by this clock it is {time}")
            for time in times
        ]
        told = [one for one in outcomes if isinstance(one, datetime)]
        if told and _tell_late.run(connection, [{**row, "now": max(told)}]).rowcount != 1:
            raise StoreUnavailable("this process is not among those that stamp")
        self._accompanied = raw_seconds()
        return outcomes

    def latest(self, connection: Connection) -> datetime:
        """Return the latest time that any process has told."""
        found: datetime | None = connection.execute(select(func.max(stampers.c.told))).scalar_one()
        return found or _NEVER
