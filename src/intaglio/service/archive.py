"""The archive of certificates, as housekeeping keeps it."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from intaglio.revocation.archiving import archive_ended
from intaglio.service.serving import Serving
from intaglio.settings import Settings
from intaglio.signing.engine import Engine

ARCHIVING_SECONDS = 600.0


def archive_certificates(settings: Settings, engine: Engine, serving: Serving) -> Callable[[], Awaitable[None]]:
    """Return what archives what ended so long ago that it is time, each time it is called."""

    async def work() -> None:
        days, now = settings.status.archive_days, engine.clock.now()
        if days:
            issuing = sorted(name for name in serving.certificates if name in engine.issuers)
            await archive_ended(engine.commits, engine.chain, issuing, now - timedelta(days=days), now)

    return work
