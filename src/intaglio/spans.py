"""What the floors below see of tracing: where there is none, they hold None in its place, and it costs nothing."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Span(Protocol):
    """Something that takes time, as a trace shows it; attributes are never personal and never secret."""

    def tell(self, **attributes: str | int) -> None:
        """Add attributes."""
        ...

    def fail(self) -> None:
        """Say that it went wrong, through no fault of the caller."""
        ...

    def end(self) -> None:
        """Say that it is done."""
        ...


class Spans(Protocol):
    """Records spans, each as a child of the present one of its thread or task."""

    def request(self, name: str, traceparent: str | None) -> AbstractContextManager[Span]:
        """Return a block that is a span without a parent, or with what `traceparent` (W3C) says, if that is taken."""
        ...

    def begun(self, name: str) -> Span | None:
        """Return a span that begins now and is to be ended, by any thread; None when no request is being recorded."""
        ...

    def carried(self, name: str, work: Callable[P, R]) -> Callable[P, R]:
        """Return `work` as a span, to be done in another thread."""
        ...

    async def close(self) -> None:
        """Send what is recorded, or give up soon."""
        ...
