"""The register of identities' keys: made ahead, claimed, certified, destroyed; and of the epochs that seal them.

    made ──▶ claimed ──▶ certified ──▶ destroyed
      └─────────┴── aged ──────────────▶ destroyed, and forgotten

A key's id becomes the id of the identity that gets it: that an identity is unique makes its key serve one only.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)

from intaglio.database.schema import Instant, metadata
from intaglio.database.statement import Statement
from intaglio.errors import KeyUnavailable
from intaglio.keys.algorithm import KeyAlgorithm
from intaglio.keys.custody import Form, SealedKey

epochs = Table(
    "epochs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("form", String(16), nullable=False),
    Column("begins_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
    Column("destroyed_at", Instant),
)

identity_keys = Table(
    "identity_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("algorithm", String(16), nullable=False),
    Column("form", String(16), nullable=False),
    Column("epoch", String(40), ForeignKey("epochs.id"), nullable=False),
    Column("sealed", LargeBinary),
    Column("public_key", LargeBinary, nullable=False),
    Column("born_at", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("claimed_by", String(64)),
    Column("certified_at", Instant),
    Column("destroyed_at", Instant),
    Index("identity_keys_to_claim", "algorithm", "claimed_by", "born_at"),
    Index("identity_keys_to_destroy", "destroyed_at", "not_after"),
    Index("identity_keys_by_epoch", "epoch", "destroyed_at"),
)

# A key whose end is nearer than this is not begun with.
MARGIN = timedelta(seconds=30)

_SEALED = [identity_keys.c[name] for name in SealedKey.__struct_fields__]


class Epoch(msgspec.Struct, frozen=True):
    """A time in which one sealing key seals: nothing more after `ends_at`, nothing opens after `destroyed_at`."""

    id: str
    form: Form
    begins_at: datetime
    ends_at: datetime
    destroyed_at: datetime | None = None


class Life(msgspec.Struct, frozen=True):
    """What is known of a key that was certified, for as long as its identity is."""

    algorithm: KeyAlgorithm
    form: Form
    epoch: str
    born_at: datetime
    destroyed_at: datetime | None
    epoch_destroyed_at: datetime | None


class Marks(msgspec.Struct, frozen=True):
    """Filling begins below `low` keys and ends at `high`."""

    low: int
    high: int


class Depth(msgspec.Struct, frozen=True):
    """How one kind of key stands in the pool, all processes together."""

    algorithm: KeyAlgorithm
    ready: int
    low: int
    high: int
    made_last_minute: int


# Epochs ----------------------------------------------------------------------------------------------


def add_epoch(connection: Connection, epoch: Epoch) -> None:
    """Write a new epoch, whose sealing key exists already."""
    connection.execute(epochs.insert(), msgspec.structs.asdict(epoch))


def sealing_epoch(connection: Connection, form: Form, now: datetime) -> Epoch | None:
    """Return the epoch that seals keys of `form` now, the youngest if there are several."""
    query = (
        select(epochs)
        .where(epochs.c.form == form, epochs.c.destroyed_at.is_(None), epochs.c.ends_at > now)
        .order_by(epochs.c.begins_at.desc(), epochs.c.id)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Epoch(*row)


def living_epochs(connection: Connection) -> list[Epoch]:
    """Return the epochs that are not destroyed, oldest first."""
    rows = connection.execute(select(epochs).where(epochs.c.destroyed_at.is_(None)).order_by(epochs.c.begins_at))
    return [Epoch(*row) for row in rows]


def epochs_over(connection: Connection, now: datetime) -> list[Epoch]:
    """Return the epochs that seal no more and under which no key is left."""
    under = exists().where(identity_keys.c.epoch == epochs.c.id, identity_keys.c.destroyed_at.is_(None))
    rows = connection.execute(
        select(epochs).where(epochs.c.destroyed_at.is_(None), epochs.c.ends_at < now, ~under).order_by(epochs.c.id)
    )
    return [Epoch(*row) for row in rows]


def end_epoch(connection: Connection, epoch_id: str, now: datetime) -> bool:
    """Write that the sealing key of an epoch is destroyed; return whether nobody had written it before."""
    done = connection.execute(
        update(epochs).where(epochs.c.id == epoch_id, epochs.c.destroyed_at.is_(None)).values(destroyed_at=now)
    )
    return done.rowcount == 1


def lose_epoch(connection: Connection, epoch_id: str, now: datetime) -> tuple[list[str], int]:
    """Write that nobody can open what an epoch sealed; return which certified keys there were, and how many others."""
    here = (identity_keys.c.epoch == epoch_id, identity_keys.c.destroyed_at.is_(None))
    certified = list(
        connection.scalars(select(identity_keys.c.id).where(*here, identity_keys.c.certified_at.is_not(None)))
    )
    waiting = connection.execute(delete(identity_keys).where(*here, identity_keys.c.certified_at.is_(None))).rowcount
    connection.execute(update(identity_keys).where(*here).values(sealed=None, destroyed_at=now))
    end_epoch(connection, epoch_id, now)
    return certified, waiting


# Keys ------------------------------------------------------------------------------------------------


_open_epoch = Statement(select(epochs.c.id).where(epochs.c.id == bindparam("epoch"), epochs.c.destroyed_at.is_(None)))
_add = Statement(identity_keys.insert(), (*SealedKey.__struct_fields__, "claimed_by"))


def add(connection: Connection, keys: Sequence[SealedKey], claimed_by: str | None = None) -> None:
    """Write new keys: into the pool, or claimed already. Raises `KeyUnavailable` if their epoch was destroyed."""
    for epoch in {key.epoch for key in keys}:
        if _open_epoch.run(connection, [{"epoch": epoch}]).one_or_none() is None:
            raise KeyUnavailable("an epoch ended while a key was made under it")
    _add.run(connection, [{**msgspec.structs.asdict(key), "claimed_by": claimed_by} for key in keys])


# Built once: a statement costs as much to build as to run.
_free = (
    select(identity_keys.c.id)
    .where(
        identity_keys.c.algorithm == bindparam("of"),
        identity_keys.c.claimed_by.is_(None),
        identity_keys.c.form == bindparam("held"),
        identity_keys.c.destroyed_at.is_(None),
        identity_keys.c.not_after >= bindparam("until"),
    )
    .order_by(identity_keys.c.born_at)
    .limit(bindparam("most"))
    # Where writers run side by side, each passes over what another is taking.
    .with_for_update(skip_locked=True)
)
_claim = (
    update(identity_keys)
    .where(identity_keys.c.id.in_(_free), identity_keys.c.claimed_by.is_(None))
    .values(claimed_by=bindparam("owner"))
    .returning(*_SEALED)
)


def claim(
    connection: Connection, algorithm: KeyAlgorithm, form: Form, until: datetime, by: str, most: int
) -> list[SealedKey]:
    """Take up to `most` keys that may exist until `until` at least out of the pool, oldest first, for `by` alone.

    A claim is never given back: a key that was claimed by who then ended serves nobody.
    """
    wanted = {"of": algorithm, "held": form, "until": until, "most": most, "owner": by}
    return sorted((_sealed(row) for row in connection.execute(_claim, wanted)), key=lambda key: key.born_at)


_certify = Statement(
    update(identity_keys)
    .where(
        identity_keys.c.id == bindparam("key"),
        identity_keys.c.claimed_by.is_not(None),
        identity_keys.c.certified_at.is_(None),
        identity_keys.c.destroyed_at.is_(None),
        identity_keys.c.not_after >= bindparam("now"),
    )
    .values(certified_at=bindparam("now"), not_after=bindparam("end"))
)


def certify(connection: Connection, ends: Sequence[tuple[str, datetime, datetime]]) -> None:
    """Write that claimed keys have their certificates: the id of each, the time now, and the certificate's end.

    Raises `KeyUnavailable` if one is not there to be certified, or has been before.
    """
    rows = [{"key": key_id, "now": now, "end": end} for key_id, now, end in ends]
    if _certify.run(connection, rows).rowcount != len(rows):
        raise KeyUnavailable(f"of {len(rows)} keys to be certified, one is not there (any more)")


_end_earlier = Statement(
    update(identity_keys)
    .where(identity_keys.c.id == bindparam("key"), identity_keys.c.destroyed_at.is_(None))
    .values(not_after=bindparam("end"))
)


def end_earlier(connection: Connection, ends: Sequence[tuple[str, datetime]]) -> None:
    """Have certified keys end at other times: the id of each, and when."""
    if ends:
        _end_earlier.run(connection, [{"key": key_id, "end": end} for key_id, end in ends])


def sealed_key(connection: Connection, key_id: str) -> SealedKey | None:
    """Return a key at rest, or None when it is destroyed."""
    query = select(*_SEALED).where(identity_keys.c.id == key_id, identity_keys.c.destroyed_at.is_(None))
    row = connection.execute(query).one_or_none()
    return None if row is None else _sealed(row)


def over(connection: Connection, now: datetime, most: int = 500) -> list[tuple[SealedKey, bool]]:
    """Return keys whose time is over and which still exist, and whether each was certified."""
    rows = connection.execute(
        select(*_SEALED, identity_keys.c.certified_at)
        .where(identity_keys.c.destroyed_at.is_(None), identity_keys.c.not_after < now)
        .order_by(identity_keys.c.not_after)
        .limit(most)
    )
    return [(_sealed(row[:-1]), row[-1] is not None) for row in rows]


def destroy(connection: Connection, key_ids: Collection[str], now: datetime) -> set[str]:
    """Overwrite the sealed keys and return those that were still there.

    Of a certified key it stays that there was one; a key of the pool is forgotten.
    """
    # One that got its certificate since it was looked up is not over any more.
    here = (
        identity_keys.c.id.in_(key_ids),
        identity_keys.c.destroyed_at.is_(None),
        identity_keys.c.not_after < now,
    )
    found = set(connection.scalars(select(identity_keys.c.id).where(*here)))
    connection.execute(
        update(identity_keys)
        .where(*here, identity_keys.c.certified_at.is_not(None))
        .values(sealed=None, destroyed_at=now)
    )
    connection.execute(delete(identity_keys).where(*here, identity_keys.c.certified_at.is_(None)))
    return found


def life(connection: Connection, key_id: str) -> Life | None:
    """Return what is known of a key."""
    row = connection.execute(
        select(
            identity_keys.c.algorithm,
            identity_keys.c.form,
            identity_keys.c.epoch,
            identity_keys.c.born_at,
            identity_keys.c.destroyed_at,
            epochs.c.destroyed_at,
        )
        .join(epochs, epochs.c.id == identity_keys.c.epoch)
        .where(identity_keys.c.id == key_id)
    ).one_or_none()
    return None if row is None else Life(*row)


# The pool --------------------------------------------------------------------------------------------


def depth(connection: Connection, form: Form, until: datetime) -> dict[KeyAlgorithm, int]:
    """Return how many keys are free for claims, by algorithm, of those that may exist until `until` at least."""
    rows = connection.execute(
        select(identity_keys.c.algorithm, func.count())
        .where(
            identity_keys.c.claimed_by.is_(None),
            identity_keys.c.form == form,
            identity_keys.c.destroyed_at.is_(None),
            identity_keys.c.not_after >= until,
        )
        .group_by(identity_keys.c.algorithm)
    )
    return {KeyAlgorithm(algorithm): number for algorithm, number in rows}


def born_since(connection: Connection, form: Form, since: datetime) -> dict[KeyAlgorithm, int]:
    """Return how many keys were made since, by algorithm; what aged out meanwhile is not counted."""
    rows = connection.execute(
        select(identity_keys.c.algorithm, func.count())
        .where(identity_keys.c.form == form, identity_keys.c.born_at >= since)
        .group_by(identity_keys.c.algorithm)
    )
    return {KeyAlgorithm(algorithm): number for algorithm, number in rows}


def depths(connection: Connection, form: Form, marks: Mapping[KeyAlgorithm, Marks], now: datetime) -> list[Depth]:
    """Return how the pool stands, by algorithm."""
    ready = depth(connection, form, now + MARGIN)
    made = born_since(connection, form, now - timedelta(minutes=1))
    return [
        Depth(algorithm, ready.get(algorithm, 0), mark.low, mark.high, made.get(algorithm, 0))
        for algorithm, mark in marks.items()
    ]


def _sealed(row: Sequence[Any]) -> SealedKey:
    key_id, algorithm, form, *rest = row
    return SealedKey(key_id, KeyAlgorithm(algorithm), Form(form), *rest)
