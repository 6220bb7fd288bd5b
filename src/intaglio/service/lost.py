"""Epochs whose secret is gone before its time: with a memory file system, or because no backup holds it."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from intaglio.keys import register
from intaglio.keys.custody import Form
from intaglio.keys.epoch_files import secret_path
from intaglio.ledger.entry import Event
from intaglio.ledger.writer import Chain
from intaglio.settings import Settings
from intaglio.signing.register import accounts_of

# Of the values that one statement may have.
_AT_ONCE = 500


def give_up_lost(connection: Connection, chain: Chain, home: Path, settings: Settings, now: datetime) -> int:
    """Destroy in the register what nobody can open any more, with an entry for each; return how many epochs.

    Left in their places, such keys would be taken from the pool, and none made anew until the epoch's time is over.
    Whoever calls this knows that no other node keeps secrets of this database elsewhere.
    """
    folder = home / settings.keys.epoch_folder
    lost = [
        epoch
        for epoch in register.living_epochs(connection)
        if epoch.form == Form.SOFTWARE and not secret_path(folder, epoch.id).exists()
    ]
    for epoch in lost:
        certified, waiting = register.lose_epoch(connection, epoch.id, now)
        for place in range(0, len(certified), _AT_ONCE):
            _record(connection, chain, certified[place : place + _AT_ONCE], epoch, now)
        details = {"form": epoch.form, "begins_at": epoch.begins_at, "ends_at": epoch.ends_at, "lost": True}
        details |= {"keys": len(certified), "pool": waiting}
        chain.append(connection, [Event(now, "epoch.destroyed", reference=epoch.id, details=details)])
    return len(lost)


def _record(connection: Connection, chain: Chain, keys: list[str], epoch: register.Epoch, now: datetime) -> None:
    accounts = accounts_of(connection, keys)
    details = {"form": epoch.form, "epoch": epoch.id, "lost": True}
    events = [Event(now, "key.destroyed", accounts.get(one), one, details=details) for one in keys]
    chain.append(connection, events)
