"""How many TLS handshakes begin in a second, and whose turn it is."""

import asyncio
from collections import deque


class Turns:
    """Lets `per_second` begin, and `at_once` more after a pause; sources take turns, whatever each has waiting."""

    def __init__(self, per_second: float, at_once: int) -> None:
        self._per_second = per_second
        self._at_once = at_once
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        # Until when those that began are paid for, by the loop's clock.
        self._paid = 0.0

    async def wait(self, source: str) -> None:
        """Return when it is the turn of one of `source`'s."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(source, deque()).append(turn)
        if self._timer is None:
            self._begin()
        await turn

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer, now = None, loop.time()
        while self._waiting:
            early = self._paid - now - self._at_once / self._per_second
            if early > 0:
                self._timer = loop.call_later(early, self._begin)
                return
            source = next(iter(self._waiting))
            queue = self._waiting.pop(source)
            turn = queue.popleft()
            if queue:
                self._waiting[source] = queue
            # Who was cut off meanwhile uses no turn.
            if not turn.done():
                self._paid = max(self._paid, now) + 1 / self._per_second
                turn.set_result(None)
