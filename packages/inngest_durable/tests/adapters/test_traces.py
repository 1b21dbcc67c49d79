"""OpenTelemetry: which spans there are, in which trace, and what they tell."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import (
    ConfigurationError,
    NonRetriableError,
    RetryPolicy,
    RunInterrupt,
    StepError,
    StepOptions,
    _spans,
    otel,
)
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from packages.inngest_durable.tests.adapters.traces import (
    CLIENT_SPAN,
    SENT,
    TRACE,
    Traces,
    facts,
    identity,
    is_error,
    parent,
    traced_office,
)
from testkit.colourless import Web, abort, over_both, parallel, step

pytestmark = over_both

LATER = StepOptions("charge", retries=RetryPolicy(max_retries=2, initial="1m", jitter=False))


@pytest.fixture
def office(tmp_path: Path, web: Web, traces: Traces) -> Office:
    """Make a traced application, not yet connected."""
    return traced_office(tmp_path, traces)


class Cards:
    """Charges cards, of which it declines the first ones."""

    def __init__(self, declined: int = 0, error: type[Exception] = ConnectionError) -> None:
        self.calls = 0
        self._declined = declined
        self._error = error

    async def charge(self) -> str:
        """Charge a card."""
        self.calls += 1
        if self.calls <= self._declined:
            raise self._error("no line to the bank")
        return "charged"


def add_order(office: Office, cards: Cards) -> None:
    """Add the endpoint ``/order``: steps reserve and charge."""

    async def order() -> Any:
        await step.run("reserve", Cards().charge)
        return {"charge": await step.run(LATER, cards.charge)}

    office.add("/order", order)


async def test_pass_has_a_span_and_each_step_one_below_it(office: Office, traces: Traces) -> None:
    add_order(office, Cards())
    async with opened(office):
        answer = await office.get("/order", headers=SENT)
    run, reserve, charge = traces.all()
    run_id = answer.headers["x-inngest-run-id"]

    assert [span.name for span in (run, reserve, charge)] == ["run order", "step reserve", "step charge"]
    assert (identity(run)[0], parent(run), run.kind) == (TRACE, (TRACE, CLIENT_SPAN), SpanKind.SERVER)
    assert parent(reserve) == parent(charge) == identity(run)
    told = facts(run)
    assert len(told.pop("worker")) == 26
    assert told == {
        "run_id": run_id,
        "endpoint": "order",
        "pass": "first",
        "epoch": 1,
        "attempt": 1,
        "outcome": "completed",
    }
    assert facts(charge) == {"run_id": run_id, "step": "charge", "attempt": 1}
    assert not any(map(is_error, traces.all()))


async def test_reentry_is_in_the_trace_of_the_client(office: Office, traces: Traces) -> None:
    """With the failed attempt in the first pass, the next one in the second, and memoized steps in the first alone."""
    add_order(office, Cards(declined=1))
    async with opened(office):
        location = await office.parked("/order", headers=SENT)
        await office.advance("1m")
        await office.end(location)
    first, second = traces.of("run order")
    failed, charged = traces.of("step charge")

    assert {identity(span)[0] for span in traces.all()} == {TRACE}
    assert parent(first) == parent(second) == (TRACE, CLIENT_SPAN)
    assert (first.kind, second.kind) == (SpanKind.SERVER, SpanKind.CONSUMER)
    assert (parent(failed), parent(charged)) == (identity(first), identity(second))
    assert parent(traces.only("step reserve")) == identity(first)
    assert [facts(span)["attempt"] for span in (failed, charged)] == [1, 2]
    assert (facts(second)["pass"], facts(second)["epoch"]) == ("reentry", 2)
    assert (facts(first)["outcome"], facts(first)["reason"]) == ("interrupted", "a step waits")


async def test_failed_attempt_is_an_error_and_the_interrupted_pass_is_none(office: Office, traces: Traces) -> None:
    add_order(office, Cards(declined=1))
    async with opened(office):
        location = await office.parked("/order")
        await office.advance("1m")
        await office.end(location)
    failed, charged = traces.of("step charge")
    (recorded,) = failed.events

    assert [span.name for span in traces.all() if is_error(span)] == ["step charge"]
    assert is_error(failed)
    assert failed.status.description == "ConnectionError: no line to the bank"
    assert recorded.attributes is not None
    assert recorded.attributes["exception.type"] == "ConnectionError"
    assert "no line to the bank" in str(recorded.attributes["exception.stacktrace"])
    assert charged.events == ()


async def test_run_without_a_trace_of_the_client_gets_one(office: Office, traces: Traces) -> None:
    """Which later passes, and who waits, find in the recorded request."""
    add_order(office, Cards(declined=1))
    async with opened(office):
        location = await office.parked("/order")
        await office.advance("1m")
        await office.end(location)
    first, second = traces.of("run order")

    assert parent(first) is None
    assert parent(second) == identity(first)
    assert parent(traces.of("wait order")[-1]) == identity(first)
    assert len({identity(span)[0] for span in traces.all()}) == 1


async def test_other_headers_of_the_client_are_recorded_as_they_came(office: Office, traces: Traces) -> None:
    add_order(office, Cards(declined=2))
    async with opened(office):
        with_trace = await office.parked("/order", headers={**SENT, "x-user": "ann"})
        without = await office.parked("/order", headers={"x-user": "ann", "traceparent": "nonsense"})
        kept = [dict(office.run(location).request.headers) for location in (with_trace, without)]
    named = [{name.decode().lower(): value.decode() for name, value in headers.items()} for headers in kept]

    assert named[0].items() >= {**SENT, "x-user": "ann"}.items()
    assert named[1]["x-user"] == "ann"
    assert named[1]["traceparent"].split("-")[1] == identity(traces.of("run order")[-1])[0]


async def test_exception_without_a_text_is_told(office: Office, traces: Traces) -> None:
    """And stays what the step fails of."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    async def mute() -> None:
        raise MuteError

    async def order() -> Any:
        try:
            await step.run(StepOptions("mute", retries=0), mute)
        except StepError as error:
            return {"error": error.name}

    office.add("/order", order)
    async with opened(office):
        assert (await office.get("/order")).json == {"error": "MuteError"}
    (told,) = traces.only("step mute").events

    assert told.attributes is not None
    assert str(told.attributes["exception.type"]).endswith(".MuteError")
    assert told.attributes["exception.message"] == "<no text: ValueError>"


async def test_sleep_is_no_error(office: Office, traces: Traces) -> None:
    async def nap() -> Any:
        await step.run("before", Cards().charge)
        await step.sleep("pause", "1h")
        return {"after": await step.run("after", Cards().charge)}

    office.add("/nap", nap)
    async with opened(office):
        location = await office.parked("/nap")
        await office.advance("1h")
        await office.end(location)
    first, second = traces.of("run nap")

    assert [facts(span)["outcome"] for span in (first, second)] == ["interrupted", "completed"]
    assert parent(traces.only("step before")) == identity(first)
    assert parent(traces.only("step after")) == identity(second)
    assert not any(map(is_error, traces.all()))


async def test_parallel_steps_are_side_by_side(office: Office, traces: Traces) -> None:
    """Neither is below the other, and each function has its own span for the current one."""
    seen: dict[str, Any] = {}

    async def look(name: str, other: str) -> None:
        seen[name] = trace.get_current_span().get_span_context().span_id
        # Each takes until the other has begun.
        office.gate(name).set()
        await office.pause(other)

    async def trip() -> Any:
        await parallel(
            lambda: step.run("flight", look, "flight", "hotel"), lambda: step.run("hotel", look, "hotel", "flight")
        )
        return {}

    office.add("/trip", trip)
    async with opened(office):
        assert (await office.get("/trip")).status_code == 200
    flight, hotel = traces.only("step flight"), traces.only("step hotel")

    assert parent(flight) == parent(hotel) == identity(traces.only("run trip"))
    assert {name: trace.format_span_id(found) for name, found in seen.items()} == {
        "flight": identity(flight)[1],
        "hotel": identity(hotel)[1],
    }


@pytest.mark.parametrize("options", [{}, {"timeout": "20s"}], ids=["", "timeout"])
async def test_what_a_step_starts_is_below_its_attempt(office: Office, traces: Traces, options: Any) -> None:
    """In a plain function too, which has a thread of its own on Quart, and on Flask where it has a timeout."""

    def ask() -> None:
        with traces.tracer.start_as_current_span("SELECT"):
            pass

    async def query() -> Any:
        with traces.tracer.start_as_current_span("pricing"):
            await step.run(StepOptions("ask", **options), ask)
        return {}

    office.add("/query", query)
    async with opened(office):
        await office.get("/query")

    assert parent(traces.only("SELECT")) == identity(traces.only("step ask"))
    assert parent(traces.only("step ask")) == identity(traces.only("pricing"))
    assert parent(traces.only("pricing")) == identity(traces.only("run query"))


async def test_step_that_fails_for_good_fails_the_run(office: Office, traces: Traces) -> None:
    add_order(office, Cards(declined=1, error=NonRetriableError))
    async with opened(office):
        assert (await office.get("/order")).status_code == 500
    run = traces.only("run order")

    assert is_error(run)
    assert facts(run)["outcome"] == "failed"
    assert [event.name for event in run.events] == ["step failed", "exception"]
    assert [span.name for span in traces.all() if is_error(span)] == ["run order", "step charge"]


async def test_error_that_the_handler_catches_or_answers_is_none_of_the_run(office: Office, traces: Traces) -> None:
    cards = Cards(declined=2, error=NonRetriableError)

    async def caught() -> Any:
        try:
            await step.run("charge", cards.charge)
        except StepError:
            return {}, 402

    async def answered() -> Any:
        try:
            await step.run("charge", cards.charge)
        except StepError:
            abort(404)

    office.add("/caught", caught)
    office.add("/answered", answered)
    async with opened(office):
        assert [(await office.get(path)).status_code for path in ("/caught", "/answered")] == [402, 404]

    for run in traces.only("run caught"), traces.only("run answered"):
        assert not is_error(run)
        assert facts(run)["outcome"] == "completed"


async def test_failed_attempt_of_the_handler_is_an_error(office: Office, traces: Traces) -> None:
    """After the first one the run goes on; the second one is the last."""

    async def breaks() -> Any:
        await step.run("charge", Cards().charge)
        raise ValueError("out of ideas")

    policy = RetryPolicy(max_retries=1, initial="1m", jitter=False)
    office.app.get("/breaks")(office.inngest.endpoint(id="breaks", retries=policy)(breaks))
    async with opened(office):
        location = await office.parked("/breaks")
        await office.advance("1m")
        assert (await office.get(location)).status_code == 500
    first, last = traces.of("run breaks")

    assert is_error(first)
    assert is_error(last)
    assert [facts(span)["outcome"] for span in (first, last)] == ["retrying", "failed"]
    assert [facts(span)["attempt"] for span in (first, last)] == [1, 2]
    assert last.status.description == "ValueError: out of ideas"


async def test_result_that_cannot_be_recorded_is_told_by_the_pass(office: Office, traces: Traces) -> None:
    """The function has returned by then, so its attempt is none that raised."""

    async def odd() -> Any:
        await step.run("odd", object)
        return {}

    office.add("/odd", odd)
    async with opened(office):
        await office.get("/odd")
    failed = next(event for event in traces.only("run odd").events if event.name == "step failed")

    assert failed.attributes is not None
    assert (
        dict(failed.attributes).items()
        >= {
            "inngest_durable.step": "odd",
            "inngest_durable.attempt": 1,
            "exception.type": "StepValueError",
        }.items()
    )


async def test_deadline_is_an_error(office: Office, traces: Traces) -> None:
    async def slow() -> Any:
        await step.run("held", office.held, "for ever")
        return {}

    office.app.get("/slow")(office.inngest.endpoint(id="slow", timeout="5m")(slow))
    async with opened(office):
        asking = asyncio.create_task(office.get("/slow"))
        while not len(office.inngest.engine.passes):
            await asyncio.sleep(0.001)
        await office.advance("5m")
        office.gate("for ever").set()
        assert (await asking).status_code == 504
    run = traces.only("run slow")

    assert is_error(run)
    assert (run.status.description, facts(run)["reason"]) == ("the run's deadline has passed",) * 2


async def test_request_that_an_earlier_run_answers_has_no_pass(office: Office, traces: Traces) -> None:
    add_order(office, Cards())
    async with opened(office):
        first, second = [await office.get("/order", headers={"Idempotency-Key": "1"}) for _ in range(2)]
    run, again = traces.of("run order")

    assert first.headers["x-inngest-run-id"] == second.headers["x-inngest-run-id"]
    assert (facts(run)["outcome"], facts(again)["outcome"]) == ("completed", "answered")
    assert "run_id" not in facts(again)
    assert len(traces.of("step charge")) == 1


async def test_trace_that_is_not_sampled_is_not_later_either(tmp_path: Path, web: Web) -> None:
    """What decides is the flag in the recorded request: the next process may have another sampler."""
    first = Traces(ParentBased(ALWAYS_OFF))
    office = make_office(tmp_path, "sqlite")
    first.instrument(office.inngest)
    add_order(office, Cards(declined=1))
    async with opened(office):
        location = await office.parked("/order")
    later = Traces()
    again = make_office(tmp_path, "sqlite")
    later.instrument(again.inngest)
    add_order(again, Cards())
    async with opened(again):
        await again.advance("1m")
        await again.end(location)

    assert first.names() == []
    assert later.names() == []


async def test_reentry_is_not_in_the_trace_of_what_made_the_client(tmp_path: Path, web: Web, traces: Traces) -> None:
    """As where an application makes it in its first request: the engine keeps that context."""
    with traces.tracer.start_as_current_span("start-up"):
        office = traced_office(tmp_path, traces)
    add_order(office, Cards(declined=1))
    async with opened(office):
        location = await office.parked("/order", headers=SENT)
        await office.advance("1m")
        await office.end(location)

    assert [identity(span)[0] for span in traces.of("run order")] == [TRACE, TRACE]


async def test_client_is_instrumented_once_and_before_its_endpoints(office: Office, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="this client is instrumented"):
        otel.instrument(office.inngest)
    late = make_office(tmp_path, "memory")
    add_order(late, Cards())

    with pytest.raises(ConfigurationError, match="right after"):
        otel.instrument(late.inngest)


def test_attempt_that_is_cut_off_is_no_error(traces: Traces) -> None:
    """As when the process stops: nothing of it is recorded, and the next pass makes another one."""
    for error in (RunInterrupt("the process stops"), asyncio.CancelledError()):
        with pytest.raises(type(error)), _spans.attempt(traces.tracer.start_span("step charge")):
            raise error
    interrupted, cancelled = traces.all()

    assert not any(map(is_error, traces.all()))
    assert facts(interrupted) == facts(cancelled) == {"outcome": "interrupted"}
