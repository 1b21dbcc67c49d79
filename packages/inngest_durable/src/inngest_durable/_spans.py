"""
Spans of passes and of the attempts of steps, and the trace that they belong to; see `otel`, which alone uses this.

A run's trace is in the headers of its recorded request, where every later pass finds it, in whichever process: as the
client sent it, otherwise as the first pass had it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from msgspec.structs import replace
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode

from ._core.model import Headers, RecordedRequest, Run
from ._core.step_flow import failure_of

# Attributes. `run_id` and `step` are called as in log records.
RUN_ID = "inngest_durable.run_id"
ENDPOINT = "inngest_durable.endpoint"
PASS = "inngest_durable.pass"
EPOCH = "inngest_durable.epoch"
WORKER = "inngest_durable.worker"
ATTEMPT = "inngest_durable.attempt"
STEP = "inngest_durable.step"
OUTCOME = "inngest_durable.outcome"
REASON = "inngest_durable.reason"
STATUS = "inngest_durable.status"

INTERRUPTED = "interrupted"


def parent_of(request: RecordedRequest) -> Context:
    """Return the context of a span for *request*: below the current span, or below that of the sender."""
    here = context.get_current()
    return here if span_context(here).is_valid else sent_with(request.headers, here)


def sent_with(headers: Headers, here: Context | None = None) -> Context:
    """Return what *headers* say of the sender's trace, added to the context *here*, or to an empty one."""
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        carrier.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return propagate.extract(carrier, here or Context())


def continued(request: RecordedRequest, inside: Context) -> RecordedRequest:
    """Return *request* with headers that lead to the trace of *inside*: itself if they do, or if there is no trace."""
    trace_id = span_context(inside).trace_id
    if not trace_id or span_context(sent_with(request.headers)).trace_id == trace_id:
        return request
    carrier: dict[str, str] = {}
    propagate.inject(carrier, inside)
    others = [header for header in request.headers if header[0].decode("latin-1").lower() not in _fields()]
    added = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in carrier.items()]
    return replace(request, headers=(*others, *added))


def span_context(here: Context) -> SpanContext:
    """Return the identity of the span that is current in *here*, which is all zeros if none is."""
    return trace.get_current_span(here).get_span_context()


def kind_in(parent: Context, entry: SpanKind) -> SpanKind:
    """Return the kind of a span below *parent*: *entry* where the trace enters this process by it."""
    above = span_context(parent)
    return SpanKind.INTERNAL if above.is_valid and not above.is_remote else entry


def facts_of(run: Run) -> Mapping[str, str | int]:
    """Return the attributes of a pass of *run*, besides those that its span begins with."""
    facts: dict[str, str | int] = {RUN_ID: run.id, ATTEMPT: run.attempt, EPOCH: run.epoch}
    return facts | {WORKER: run.owner} if run.owner else facts


@contextmanager
def inside(here: Context) -> Iterator[None]:
    """Let *here* be the current context for the duration of a block."""
    token = context.attach(here)
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def attempt(span: Span) -> Iterator[None]:
    """Let *span* be that of a block, ended with it: failed if the block raised, and not if it was interrupted."""
    try:
        with inside(trace.set_span_in_context(span)):
            yield
    except Exception as error:
        failed(span, error)
        raise
    except BaseException:
        span.set_attribute(OUTCOME, INTERRUPTED)
        raise
    finally:
        span.end()


def failed(span: Span, error: BaseException) -> None:
    """Note on *span* that it was ended by *error*: as it is recorded, since an exception may have no text."""
    failure, kind = failure_of(error), type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    facts = {"exception.type": name, "exception.message": failure.message, "exception.stacktrace": failure.traceback}
    span.add_event("exception", facts)
    span.set_status(Status(StatusCode.ERROR, f"{failure.name}: {failure.message}"))


def _fields() -> set[str]:
    return {name.lower() for name in propagate.get_global_textmap().fields}
