"""
Traces of runs with OpenTelemetry: call `instrument` once for a client, before its first ``@inngest.endpoint``.

Needs ``inngest-durable[otel]``, which brings OpenTelemetry's API. Where spans go is up to the SDK that the application
configures, as for any instrumented library.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

from ._core.model import RecordedRequest, Run
from ._extras import needed_by
from ._pass import CLIENT_GONE, DEADLINE, PARKED, Pass, PassKind
from ._task_pass import TaskPass
from ._thread_pass import ThreadPass
from .client import Inngest
from .endpoint import Endpoint, EndpointOptions
from .engines.base import Claim
from .errors import ConfigurationError, RunInterrupt
from .exchange import EndpointAdapter, Holder, Lifecycle

with needed_by(__name__, extra="otel"):
    from opentelemetry import context, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

    from . import _spans
    from ._traced_pass import TracedPass, TracedTaskPass, TracedThreadPass

__all__ = ["instrument"]

PassT = TypeVar("PassT", bound=Pass)

_TRACED: dict[type[Pass], Any] = {TaskPass: TracedTaskPass, ThreadPass: TracedThreadPass}


def instrument(inngest: Inngest, tracer_provider: TracerProvider | None = None) -> None:
    """
    Trace the runs of a client: one trace for all passes of a run, in whichever process, and for requests that wait.

    Call it right after ``Inngest(…)``. A client that is not instrumented costs nothing extra.

    Args:
        inngest: The client.
        tracer_provider: Makes the spans; None takes OpenTelemetry's global one.

    Raises:
        ConfigurationError: The client is instrumented, or has endpoints.
    """
    if inngest.endpoints.make is not Endpoint:
        raise ConfigurationError("this client is instrumented: call instrument() once")
    if inngest.endpoints:
        raise ConfigurationError("instrument() was called after @inngest.endpoint: call it right after Inngest(…)")
    tracer = trace.get_tracer("inngest_durable", version("inngest-durable"), tracer_provider)
    inngest.endpoints.make = partial(TracedEndpoint, tracer)
    # Wrapped for this client alone: without tracing, nothing takes another path than before.
    inngest.reenter = partial(_apart, inngest.reenter)  # type: ignore[method-assign]
    inngest.engine.ended = partial(_waiting, tracer, inngest.engine.ended)  # type: ignore[method-assign]


class TracedEndpoint(Endpoint):
    """
    An endpoint whose passes have spans.

    Args:
        tracer: Makes them.
        options, client, adapter: See `Endpoint`.
    """

    def __init__(self, tracer: Tracer, options: EndpointOptions, client: Lifecycle, adapter: EndpointAdapter) -> None:
        super().__init__(options, client, adapter)
        self._tracer = tracer

    async def open(self, holder: Holder, pass_type: type[PassT]) -> PassT | None:
        """Begin a pass, and its span."""
        begun: list[Context] = []
        if holder.claim is None:
            ask = partial(self._traced_request, holder.request, begun)
            holder.request = ask  # type: ignore[method-assign]  # of this holder alone
        else:
            begun.append(self._begin("reentry", holder.claim.run.request))
        try:
            current = await super().open(holder, _TRACED[pass_type])
        except BaseException as error:
            for inside in begun:
                _not_begun(trace.get_current_span(inside), error)
            raise
        finally:
            # The holder would refer to itself, and be left to the cycle collector.
            vars(holder).pop("request", None)
        if current is None and begun:
            # For example by an earlier run with the same idempotency key.
            _end(trace.get_current_span(begun[0]), "answered")
        if isinstance(current, TracedPass):
            current.tracer, current.inside = self._tracer, begun[0]
            current.span = trace.get_current_span(current.inside)
            current.span.set_attributes(_spans.facts_of(current.claim.run))
        return current

    async def _traced_request(
        self, ask: Callable[[], Awaitable[RecordedRequest]], begun: list[Context]
    ) -> RecordedRequest:
        """Return the request as it is to be recorded: later passes find the trace in it."""
        request = await ask()
        begun.append(self._begin("first", request))
        return _spans.continued(request, begun[0])

    def _begin(self, kind: PassKind, request: RecordedRequest) -> Context:
        """Begin the span of a pass; return the context of what runs in it."""
        parent = _spans.parent_of(request)
        entry = SpanKind.SERVER if kind == "first" else SpanKind.CONSUMER
        facts = {_spans.ENDPOINT: self.id, _spans.PASS: kind}
        span = self._tracer.start_span(f"run {self.id}", parent, _spans.kind_in(parent, entry), facts)
        return trace.set_span_in_context(span, parent)

    def completed(self, holder: Holder, current: Pass) -> None:
        """Note that the handler has returned its answer."""
        super().completed(holder, current)
        _end(_span_of(current), "completed")

    async def close(self, holder: Holder, current: Pass, error: BaseException | None) -> None:
        """Settle a pass whose handler was interrupted, or raised *error*."""
        span = _span_of(current)
        try:
            await super().close(holder, current, error)
        finally:
            if current.interrupted or isinstance(error, RunInterrupt):
                _interrupted(span, current.interrupted or PARKED)
            elif isinstance(error, Exception) and self._adapter.is_answer(error):
                _end(span, "completed")
            else:
                if error is not None:
                    _spans.failed(span, error)
                # What was not accepted is not a run, and is not tried again.
                is_last = holder.ending is not None or not current.claim.accepted
                _end(span, "failed" if is_last else "retrying")

    def abandon(self, current: Pass) -> None:
        """End a pass whose handler was cancelled."""
        super().abandon(current)
        _interrupted(_span_of(current), current.interrupted or CLIENT_GONE)


def _span_of(current: Pass) -> Span:
    assert isinstance(current, TracedPass)
    return current.span


def _not_begun(span: Span, error: BaseException) -> None:
    """Note that *error* came before the handler could begin: most often, the client went away."""
    if isinstance(error, asyncio.CancelledError):
        _interrupted(span, CLIENT_GONE)
    else:
        _spans.failed(span, error)
        _end(span, "failed")


def _interrupted(span: Span, reason: str) -> None:
    span.set_attribute(_spans.REASON, reason)
    if reason == DEADLINE:
        # Every other interrupt lets the run go on.
        span.set_status(Status(StatusCode.ERROR, reason))
    _end(span, _spans.INTERRUPTED)


def _end(span: Span, outcome: str) -> None:
    span.set_attribute(_spans.OUTCOME, outcome)
    span.end()


async def _apart(reenter: Callable[[Claim], Awaitable[None]], claim: Claim) -> None:
    """Run a later pass in the trace of its own run, not in that of a server's dispatch or of what made the client."""
    with _spans.inside(Context()):
        await reenter(claim)


async def _waiting(
    tracer: Tracer, ended: Callable[[str, float], Awaitable[Run | None]], run_id: str, timeout_seconds: float
) -> Run | None:
    """Wait for the end of a run, and add a span for that to the run's trace, linked to the request that waits."""
    began = time.time_ns()
    run = await ended(run_id, timeout_seconds)
    if run is None:
        return None
    here, parent = context.get_current(), _spans.sent_with(run.request.headers)
    asking = _spans.span_context(here)
    links = []
    if not _spans.span_context(parent).is_valid or _spans.span_context(parent).trace_id == asking.trace_id:
        parent = here
    elif asking.is_valid:
        links.append(Link(asking))
    facts = {_spans.RUN_ID: run_id, _spans.ENDPOINT: run.endpoint, _spans.STATUS: run.status.value}
    kind = _spans.kind_in(here, SpanKind.SERVER)
    # A run that only an Inngest server knows has no endpoint here.
    tracer.start_span(f"wait {run.endpoint}".rstrip(), parent, kind, facts, links, began).end()
    return run
