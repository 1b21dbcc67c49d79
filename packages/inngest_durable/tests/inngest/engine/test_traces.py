"""OpenTelemetry on this engine: the trace is in the request that the server keeps with the run."""

from __future__ import annotations

from contextvars import Token

import pytest
from inngest_durable import Inngest
from opentelemetry import context, trace
from opentelemetry.context import Context

from packages.inngest_durable.tests.adapters.traces import (
    CLIENT_SPAN,
    SENT,
    TRACE,
    Traces,
    facts,
    identity,
    is_error,
    parent,
)
from packages.inngest_durable.tests.inngest.engine import application
from packages.inngest_durable.tests.inngest.engine.conftest import OpenRig
from packages.inngest_durable.tests.inngest.engine.rig import Rig
from testkit.colourless import put_middleware


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    """Keep the spans of applications that are opened after this."""
    traces = Traces()
    monkeypatch.setattr(application, "Inngest", lambda *args: traces.instrument(Inngest(*args)))
    return traces


@pytest.fixture
def rig(traces: Traces, open_rig: OpenRig) -> Rig:
    """Open a traced application, whose clients wait at a route of its own."""
    return open_rig(waits_at="/wait")


@pytest.mark.parametrize("sent", [SENT, {}], ids=["client has a trace", "client has none"])
def test_run_has_one_trace(rig: Rig, traces: Traces, sent: dict[str, str]) -> None:
    assert rig.answer("/book?fail=1", headers=sent).status_code == 200
    first, second = traces.of("run book")
    failed, charged = traces.of("step charge")

    assert parent(first) == ((TRACE, CLIENT_SPAN) if sent else None)
    assert parent(second) == (parent(first) or identity(first))
    assert {identity(span)[0] for span in traces.all()} == {identity(first)[0]}
    assert (parent(failed), parent(charged)) == (identity(first), identity(second))
    assert [(is_error(span), facts(span)["attempt"]) for span in (failed, charged)] == [(True, 1), (False, 2)]
    assert parent(traces.only("wait book")) == parent(second)


def test_child_run_is_below_the_step_that_invokes_it(rig: Rig, traces: Traces) -> None:
    assert rig.answer("/parent", headers=SENT).status_code == 200
    invoking = traces.only("step child")

    assert {parent(child) for child in traces.of("run sleep")} == {identity(invoking)}
    assert identity(invoking)[0] == TRACE


def test_reentry_is_not_in_the_trace_of_the_servers_request(rig: Rig, traces: Traces) -> None:
    """Which middleware outside the edge may have begun."""
    outside: list[Token[Context]] = []

    def meet() -> None:
        span = traces.tracer.start_span("from outside", Context())
        outside.append(context.attach(trace.set_span_in_context(span)))

    first = rig.ask("/book?fail=1", headers=SENT)
    put_middleware(rig.rows.app, meet)
    rig.follow(first)

    assert len(outside) == 2
    assert {identity(span)[0] for span in traces.of("run book")} == {TRACE}
