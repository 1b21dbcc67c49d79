"""What an application's spans tell, kept in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inngest_durable import otel
from opentelemetry import context, propagate, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanContext, SpanKind

from packages.inngest_durable.tests.adapters.office import Office, make_office
from testkit.colourless import g, request

PREFIX = "inngest_durable."
# A client with a trace of its own; the last number says that it is sampled.
TRACE, CLIENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = {"traceparent": f"00-{TRACE}-{CLIENT_SPAN}-01"}


class Traces:
    """
    The spans of one application.

    Args:
        sampler: Says which traces are kept; None keeps what the parent does, and all that have none.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def instrument(self, inngest: Any) -> Any:
        """Trace *inngest*; return it."""
        otel.instrument(inngest, self.provider)
        return inngest

    def all(self) -> Sequence[ReadableSpan]:
        """Return the spans that have ended, in the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def names(self) -> list[str]:
        """Return their names."""
        return [span.name for span in self.all()]

    def of(self, name: str) -> list[ReadableSpan]:
        """Return those of a name."""
        return [span for span in self.all() if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        """Return the only one of a name."""
        (span,) = self.of(name)
        return span


def traced_office(folder: Path, traces: Traces, **options: Any) -> Office:
    """Return an application whose runs are traced, not yet connected."""
    office = make_office(folder, "memory", **options)
    traces.instrument(office.inngest)
    return office


def identity(span: ReadableSpan) -> tuple[str, str]:
    """Return the IDs of a span's trace and of itself."""
    return _ids(span.context)


def parent(span: ReadableSpan) -> tuple[str, str] | None:
    """Return the IDs of its parent, if it has one."""
    return None if span.parent is None else _ids(span.parent)


def links(span: ReadableSpan) -> list[tuple[str, str]]:
    """Return the IDs of what it is linked to."""
    return [_ids(link.context) for link in span.links]


def facts(span: ReadableSpan) -> dict[str, Any]:
    """Return its attributes, by the names that follow the prefix."""
    return {name.removeprefix(PREFIX): value for name, value in (span.attributes or {}).items()}


def is_error(span: ReadableSpan) -> bool:
    """Tell whether its status is that of a failure."""
    return not span.status.is_ok and not span.status.is_unset


def _ids(found: SpanContext | None) -> tuple[str, str]:
    assert found is not None
    return trace.format_trace_id(found.trace_id), trace.format_span_id(found.span_id)


def instrument_framework(app: Any, traces: Traces) -> None:
    """Give each request and re-entry a span of its own, as OpenTelemetry's instrumentations of frameworks do."""

    async def begin() -> None:
        # They take a span that is current for the request's own.
        above = context.get_current()
        if not trace.get_current_span().get_span_context().is_valid:
            above = propagate.extract({name.lower(): value for name, value in request.headers.items()})
        g.span = traces.tracer.start_span(f"{request.method} {request.path}", above, SpanKind.SERVER)
        g.token = context.attach(trace.set_span_in_context(g.span))

    async def end(response: Any) -> Any:
        context.detach(g.token)
        g.span.end()
        return response

    app.before_request(begin)
    app.after_request(end)
