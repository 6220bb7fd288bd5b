"""Use cases: destroy the keys whose time is over, and the sealing keys under which none is left; forget them here."""

import logging
from collections import Counter, defaultdict
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from intaglio.errors import KeyUnavailable
from intaglio.keys import register as keys
from intaglio.keys.custody import Form, SealedKey
from intaglio.ledger.entry import Event
from intaglio.signing import register
from intaglio.signing.engine import Engine

_log = logging.getLogger("intaglio.signing")


async def destroy_expired(engine: Engine) -> int:
    """Destroy what is over, in the store and in the token, each with its entry; return how many keys.

    1. keys that exist on their own are discarded; 2. sealed texts are overwritten, with their entries; 3. epochs
    without keys lose their sealing key, 4. with an entry each.
    What cannot be destroyed now is logged and tried again the next time.
    """
    now = engine.clock.now()
    # 1
    discarded: list[tuple[SealedKey, bool]] = []
    for key, certified in await engine.commits.read(lambda connection: keys.over(connection, now)):
        try:
            if key.form == Form.RESIDENT:
                await engine.lanes.run(engine.custody(key.form).discard, key)
        except KeyUnavailable as error:
            _log.warning("the key %s will be destroyed later: %s", key.id, error)
        else:
            discarded.append((key, certified))
    # 2
    destroyed = await engine.commits.write(lambda c: _destroy(engine, c, discarded, now)) if discarded else 0
    # 3, 4
    for epoch in await engine.commits.read(lambda connection: keys.epochs_over(connection, now)):
        try:
            await engine.lanes.run(engine.custody(epoch.form).end_epoch, epoch.id)
        except KeyUnavailable as error:
            _log.warning("the sealing key of the epoch %s will be destroyed later: %s", epoch.id, error)
        else:
            await engine.commits.write(partial(_end, engine, epoch, now))
    return destroyed


async def forget_expired(engine: Engine) -> None:
    """Drop from the memory of this process the keys whose time is over, and what belongs to epochs that ended."""
    engine.live.destroy_expired(engine.clock.now())
    living: defaultdict[Form, set[str]] = defaultdict(set)
    for epoch in await engine.commits.read(keys.living_epochs):
        living[epoch.form].add(epoch.id)
    for form, custody in engine.custodies.items():
        custody.remember_only(living[form])


def _destroy(engine: Engine, connection: Connection, found: list[tuple[SealedKey, bool]], now: datetime) -> int:
    # Another process may have destroyed some meanwhile.
    here = keys.destroy(connection, [key.id for key, _ in found], now)
    accounts = register.accounts_of(connection, here)
    events = [
        Event(
            at=now,
            kind="key.destroyed",
            account_id=accounts.get(key.id),
            reference=key.id,
            details={"not_after": key.not_after, "form": key.form, "epoch": key.epoch},
        )
        for key, certified in found
        if certified and key.id in here
    ]
    aged = Counter(key.epoch for key, certified in found if not certified and key.id in here)
    events += [
        Event(at=now, kind="pool.aged", reference=epoch, details={"keys": number}) for epoch, number in aged.items()
    ]
    engine.chain.append(connection, events)
    return len(here)


def _end(engine: Engine, epoch: keys.Epoch, now: datetime, connection: Connection) -> None:
    if keys.end_epoch(connection, epoch.id, now):
        details = {"form": epoch.form, "begins_at": epoch.begins_at, "ends_at": epoch.ends_at}
        engine.chain.append(connection, [Event(at=now, kind="epoch.destroyed", reference=epoch.id, details=details)])
