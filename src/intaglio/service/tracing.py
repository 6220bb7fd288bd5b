"""Tracing by OpenTelemetry: spans are sent by OTLP over HTTP, in a thread of their own; loaded only where it is on."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from intaglio import __version__
from intaglio.settings import TracingSettings

P = ParamSpec("P")
R = TypeVar("R")

# For a collector to answer, and at the end for all that is left.
_SEND_SECONDS = 5.0
_END_SECONDS = 2.0
_PROPAGATOR = TraceContextTextMapPropagator()


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def tell(self, **attributes: str | int) -> None:
        self._span.set_attributes({name.replace("__", "."): value for name, value in attributes.items()})

    def fail(self) -> None:
        self._span.set_status(trace.StatusCode.ERROR)

    def end(self) -> None:
        self._span.end()


class Tracing:
    """The spans of one process; which requests are recorded is decided before they come here."""

    def __init__(self, settings: TracingSettings) -> None:
        self._traceparent = settings.traceparent
        told = {"service.name": "intaglio", "service.version": __version__}
        self._provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=settings.endpoint, timeout=_SEND_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("intaglio", __version__)

    @contextmanager
    def request(self, name: str, traceparent: str | None) -> Iterator[_Span]:
        """Return a block that is the span of a request."""
        parent, links = context.Context(), []
        if traceparent is not None and self._traceparent != "ignore":
            said = _PROPAGATOR.extract({"traceparent": traceparent}, context.Context())
            origin = trace.get_current_span(said).get_span_context()
            if self._traceparent == "parent":
                parent = trace.set_span_in_context(trace.NonRecordingSpan(_recorded(origin)), parent)
            elif origin.is_valid:
                links = [trace.Link(origin)]
        with self._tracer.start_as_current_span(
            name, parent, trace.SpanKind.SERVER, links=links, record_exception=False, set_status_on_exception=False
        ) as span:
            yield _Span(span)

    def begun(self, name: str) -> _Span | None:
        """Return a span that begins now; None when no request is being recorded."""
        if not trace.get_current_span().is_recording():
            return None
        return _Span(self._tracer.start_span(name))

    def carried(self, name: str, work: Callable[P, R]) -> Callable[P, R]:
        """Return `work` as a span, to be done in another thread."""
        if not trace.get_current_span().is_recording():
            return work
        here = context.get_current()

        @wraps(work)
        def within(*args: P.args, **kwargs: P.kwargs) -> R:
            token = context.attach(here)
            try:
                return self._done(name, work, *args, **kwargs)
            finally:
                context.detach(token)

        return within

    def _done(self, name: str, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        # What an exception says is for the log alone.
        with self._tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
            try:
                return work(*args, **kwargs)
            except BaseException:
                span.set_status(trace.StatusCode.ERROR)
                raise

    async def close(self) -> None:
        """Send what is recorded, or give up soon: a collector that is away must not keep the process."""
        ending = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _END_SECONDS)


def _recorded(origin: trace.SpanContext) -> trace.SpanContext:
    """Return a parent under which spans are recorded: whether they are is not for the caller to decide."""
    return trace.SpanContext(origin.trace_id, origin.span_id, is_remote=True, trace_flags=trace.TraceFlags(1))
