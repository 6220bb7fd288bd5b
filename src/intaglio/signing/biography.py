"""Use case: the life of an identity and its key, from what the registers and the ledger say."""

from datetime import datetime

import msgspec
from sqlalchemy import Connection

from intaglio.errors import NotFound
from intaglio.keys import register as keys
from intaglio.ledger import writer as ledger
from intaglio.revocation.register import ARCHIVED
from intaglio.revocation.register import find as find_certificate
from intaglio.signing import register


class Biography(msgspec.Struct, frozen=True):
    """An identity's life; `used` counts signatures, entries are `chain#sequence`.

    `key_destroyed_at` says when its sealed key was overwritten, `epoch_destroyed_at` when the sealing key under which
    every copy of it rests was destroyed: from then on no copy of anything brings it back.
    """

    id: str
    account_id: str
    subject: str
    issuer: str
    serial: str
    state: str
    algorithm: str
    form: str
    born_at: datetime
    certified_at: datetime
    not_after: datetime
    used: int
    epoch: str
    key_destroyed_at: datetime | None
    epoch_destroyed_at: datetime | None
    entries: dict[str, str]


def biography(connection: Connection, identity_id: str) -> Biography:
    """Return the life of an identity; raises `NotFound`."""
    identity = register.find(connection, identity_id)
    life = keys.life(connection, identity_id)
    standing = None if identity is None else find_certificate(connection, identity.issuer, identity.serial)
    if identity is None or life is None or standing is None:
        raise NotFound("There is no such identity.", {"id": "not found"})
    subject, not_after = standing.subject, standing.not_after
    if standing.profile == ARCHIVED:
        # The register has its number only: the rest is in the ledger.
        for told in ledger.details(connection, identity_id, "identity.created"):
            subject, not_after = told["subject"], datetime.fromisoformat(told["not_after"])
    made = ledger.count(connection, identity_id, "signature.made")
    entries = {
        "identity.created": ledger.about(connection, identity_id, "identity.created"),
        "key.destroyed": ledger.about(connection, identity_id, "key.destroyed"),
        "epoch.destroyed": ledger.about(connection, life.epoch, "epoch.destroyed"),
    }
    return Biography(
        id=identity.id,
        account_id=identity.account_id,
        subject=subject,
        issuer=identity.issuer,
        serial=identity.serial,
        state=standing.state,
        algorithm=life.algorithm,
        form=life.form,
        born_at=life.born_at,
        certified_at=identity.created_at,
        not_after=not_after,
        # What was begun and failed left an entry of each kind.
        used=made - ledger.count(connection, identity_id, "signature.failed"),
        epoch=life.epoch,
        key_destroyed_at=life.destroyed_at,
        epoch_destroyed_at=life.epoch_destroyed_at,
        entries={kind: f"{found[0][0]}#{found[0][1]}" for kind, found in entries.items() if found},
    )
