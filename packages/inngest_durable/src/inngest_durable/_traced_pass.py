"""
Passes whose handler and steps have spans; see `otel`, which alone uses this.

A pass's span is current in its handler, and that of an attempt in the step's function: what is instrumented there,
an HTTP client or a database, puts its spans below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from msgspec.structs import replace
from opentelemetry import context, propagate
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer

from . import _spans
from ._core.journal import StepIdentity
from ._core.model import Memo, Run
from ._fetch import FetchRequest, FetchResponse, fetch_in_thread, fetch_on_loop
from ._pass import Pass
from ._task_pass import TaskPass
from ._thread_pass import ThreadPass

T = TypeVar("T")


class TracedPass(Pass):
    """
    What traced passes have in common.

    Attributes:
        tracer: Makes the spans.
        span: The pass's own.
        inside: The context of what runs in it.
    """

    tracer: Tracer
    span: Span
    inside: Context

    def attempt(self, step: StepIdentity, kind: SpanKind = SpanKind.INTERNAL) -> AbstractContextManager[None]:
        """Return the block of one attempt of *step*, which has a span."""
        memo = self.journal.lookup(step)
        number = 1 if memo is None else memo.attempt + 1
        facts: dict[str, str | int] = {_spans.RUN_ID: step.run_id, _spans.STEP: step.key, _spans.ATTEMPT: number}
        return _spans.attempt(self.tracer.start_span(f"step {step.key}", kind=kind, attributes=facts))

    def new_child(
        self, step: StepIdentity, endpoint: Callable[..., Any] | str, params: Mapping[str, Any], body: Any
    ) -> Run:
        """Return the run that *step* invokes, with the trace in its request."""
        with self.attempt(step, SpanKind.PRODUCER):
            child = super().new_child(step, endpoint, params, body)
            return replace(child, request=_spans.continued(child.request, context.get_current()))

    def _log_failure(self, memo: Memo, traceback: str) -> None:
        super()._log_failure(memo, traceback)
        if not self.span.is_recording():
            # The pass has been let go, and its span has ended.
            return
        # Also if the function returned, but its result cannot be recorded: the attempt's span has ended by then.
        facts: dict[str, str | int] = {_spans.STEP: memo.key, _spans.ATTEMPT: memo.attempt}
        if memo.failure is not None:
            facts |= {"exception.type": memo.failure.name, "exception.message": memo.failure.message}
        self.span.add_event("step failed", facts)


class TracedTaskPass(TracedPass, TaskPass):
    """One execution of an ``async def`` handler, traced."""

    async def run(self, handler: Callable[[], Awaitable[Any]]) -> Any:
        """Run *handler* to its end; see `TaskPass.run`."""
        with _spans.inside(self.inside):
            return await super().run(handler)

    def call_of(
        self, step: StepIdentity, fn: Callable[..., Any], args: Any, kwargs: Any, timeout_seconds: float | None
    ) -> Callable[[], Awaitable[Any]]:
        """Return what calls *fn* once, in a span."""
        fn = _fetch_on_loop if fn is fetch_on_loop else fn
        call = super().call_of(step, fn, args, kwargs, timeout_seconds)

        async def attempt() -> Any:
            with self.attempt(step):
                return await call()

        return attempt


class TracedThreadPass(TracedPass, ThreadPass):
    """One execution of a ``def`` handler, traced."""

    def run(self, handler: Callable[[], T]) -> T:
        """Run *handler* to its end; see `ThreadPass.run`."""
        with _spans.inside(self.inside):
            return super().run(handler)

    def call_of(
        self, step: StepIdentity, fn: Callable[..., Any], args: Any, kwargs: Any, timeout_seconds: float | None
    ) -> Callable[[], Any]:
        """Return what calls *fn* once, in a span."""
        fn = _fetch_in_thread if fn is fetch_in_thread else fn
        call = super().call_of(step, fn, args, kwargs, timeout_seconds)

        def attempt() -> Any:
            with self.attempt(step):
                return call()

        return attempt


async def _fetch_on_loop(request: FetchRequest) -> FetchResponse:
    return await fetch_on_loop(_with_trace(request))


def _fetch_in_thread(request: FetchRequest) -> FetchResponse:
    return fetch_in_thread(_with_trace(request))


def _with_trace(request: FetchRequest) -> FetchRequest:
    """Return *request* with headers that lead to the current trace; those that the handler gave stay as they are."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return replace(request, headers={name.lower(): value for name, value in carrier.items()} | request.headers)
