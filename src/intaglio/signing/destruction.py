"""Use case: destroy the keys of identities whose time is over, and record that it was done."""

from sqlalchemy import Connection

from intaglio.ledger.entry import Event
from intaglio.signing import register
from intaglio.signing.engine import Engine


async def destroy_expired(engine: Engine) -> int:
    """Destroy expired keys in memory and in the store, each with its entry; return how many rows."""
    now = engine.clock.now()
    engine.live.destroy_expired(now)
    found = await engine.commits.read(lambda connection: register.expired(connection, now))
    if not found:
        return 0

    def destroy(connection: Connection) -> int:
        # Read again inside the writing transaction: another process may have destroyed some meanwhile.
        over = register.expired(connection, now)
        register.destroy_keys(connection, [identity.id for identity in over], now)
        engine.chain.append(
            connection,
            [
                Event(
                    at=now,
                    kind="key.destroyed",
                    account_id=identity.account_id,
                    reference=identity.id,
                    details={"not_after": identity.not_after},
                )
                for identity in over
            ],
        )
        return len(over)

    return await engine.commits.write(destroy)
