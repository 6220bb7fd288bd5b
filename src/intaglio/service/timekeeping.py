"""Holding the clock of this process against its source, and telling when trust in it ends and begins."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from intaglio.clock import Clock, chrony, ntp
from intaglio.clock.agreement import Verdict
from intaglio.clock.oscillator import raw_seconds, wall_seconds
from intaglio.clock.trust import Trust
from intaglio.errors import IntaglioError
from intaglio.ledger.entry import Event
from intaglio.settings import ClockSettings, Settings

_log = logging.getLogger("intaglio.clock")

_LOOK_SECONDS = 1.0
# How soon a source is asked again that was asked just now, when the clock has lost its trust since.
_AGAIN_SECONDS = 8.0
# Servers are waited for by whoever asks them; this is for what comes before.
_PATIENCE_SECONDS = 8.0

Source = Callable[[], Verdict]


def trust_of(settings: Settings) -> Trust:
    """Return the judge of times that the settings ask for."""
    found = settings.clock
    return Trust(
        timedelta(milliseconds=settings.timestamp.accuracy_ms),
        checked=found.source != "none",
        silence=timedelta(seconds=found.silent_seconds),
        drift_ppm=found.drift_ppm,
    )


def source_of(settings: ClockSettings) -> Source | None:
    """Return what asks the source, in a thread that may wait for it; None if there is none."""
    if settings.source == "none":
        return None
    if settings.source == "chrony":
        return partial(chrony.look, settings.chronyd)
    return partial(ntp.look, [server(one) for one in settings.servers], settings.needed)


def server(name: str) -> ntp.Server:
    """Return what HOST, HOST:PORT or [IPV6]:PORT names."""
    host, colon, port = name.rpartition(":")
    # An IPv6 address has colons of its own, and with a port it is in brackets.
    if colon and port.isdecimal() and (":" not in host or host.endswith("]")):
        return ntp.Server(name, host.strip("[]"), int(port))
    return ntp.Server(name, name.strip("[]"))


class Timekeeping:
    """One process's checks of its clock; `record` writes an entry durably."""

    def __init__(
        self, settings: ClockSettings, clock: Clock, trust: Trust, record: Callable[[Event], Awaitable[None]]
    ) -> None:
        self._settings = settings
        self._source = source_of(settings)
        self._clock = clock
        self._trust = trust
        self._record = record
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clock")
        self._asking: asyncio.Future[Verdict] | None = None
        self._asked = float("-inf")
        self._trusted = True
        self._heard: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    async def check(self) -> None:
        """Ask the source once, and take notice."""
        if self._source is None:
            _log.warning(
                "the clock is compared with nothing ([clock] source = none): nobody checks the accuracy that "
                "time-stamps promise"
            )
            return
        self._asked = raw_seconds()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().run_in_executor(self._thread, self._source)
        answered, _ = await asyncio.wait({self._asking}, timeout=_PATIENCE_SECONDS)
        if answered:
            verdict = self._asking.result()
        else:
            # Names that cannot be looked up: the thread comes back when the resolver gives up.
            why = "the time source does not answer"
            verdict = Verdict(wall_seconds(), raw_seconds(), why=why, unheard=True)
        self._trust.take(verdict)
        heard = (verdict.wrong, verdict.silent)
        if heard != self._heard:
            self._heard = heard
            level = logging.WARNING if any(heard) else logging.INFO
            _log.log(level, "time servers contradicted: %s; silent: %s", *(", ".join(one) or "none" for one in heard))
        await self._tell()

    async def keep(self) -> None:
        """Check for ever: when it is time, and at once when the clock has lost its trust in between."""
        while self._source is not None:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._tell()
                wait = self._settings.check_seconds if self._trusted else _AGAIN_SECONDS
                if raw_seconds() >= self._asked + min(wait, self._settings.check_seconds):
                    await self.check()
            except IntaglioError as error:
                _log.warning("the clock's state is recorded later: %s", error)
            except Exception:  # it must outlive any one failure
                _log.exception("the clock could not be checked and is checked again later")

    async def _tell(self) -> None:
        """Record that trust has ended or begun, once for each time that it does."""
        now = self._clock.now()
        trusted = self._trust.trouble(now) is None
        # It may have ended and begun again since the last look: then a request was refused meanwhile.
        if self._trusted and self._trust.refused is not None:
            await self._record(Event(now, "clock.untrusted", details={"why": self._trust.refused}))
            _log.error("the clock is not trusted: %s", self._trust.refused)
            self._trusted = False
        if trusted and not self._trusted:
            error = round(self._trust.error(self._clock.now()) * 1000)
            await self._record(Event(now, "clock.trusted", details={"error_ms": error}))
            _log.info("the clock is trusted: it is off by %s ms at most", error)
            self._trusted, self._trust.refused = True, None

    def end(self) -> None:
        """Wait for no server any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
