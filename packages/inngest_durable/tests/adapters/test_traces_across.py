"""OpenTelemetry: a run's trace across what it calls and invokes, who waits for it, and the framework's spans."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import RetryPolicy, StepOptions
from opentelemetry.trace import SpanKind

from packages.inngest_durable.tests.adapters.office import Office, opened
from packages.inngest_durable.tests.adapters.traces import (
    CLIENT_SPAN,
    SENT,
    TRACE,
    Traces,
    facts,
    identity,
    instrument_framework,
    is_error,
    links,
    parent,
    traced_office,
)
from testkit.colourless import Web, over_both, step
from testkit.third_party import ThirdParty

pytestmark = over_both

OTHER = {"traceparent": "00-11111111111111111111111111111111-2222222222222222-01"}


@pytest.fixture
def office(tmp_path: Path, web: Web, traces: Traces) -> Office:
    """Make a traced application, not yet connected."""
    return traced_office(tmp_path, traces)


@pytest.fixture
def brisk(tmp_path: Path, web: Web, traces: Traces) -> Office:
    """Make one in real time."""
    return traced_office(tmp_path, traces, real_time=True)


async def fetched(office: Office, api: ThirdParty, **options: Any) -> list[dict[str, str]]:
    """Let a run fetch; return the headers that the third party got, of each request."""

    async def seats() -> Any:
        await step.fetch(StepOptions("ask", retries=RetryPolicy(initial="1ms")), api.url, **options)
        return {}

    office.add("/seats", seats)
    async with opened(office):
        await office.end_of(await office.get("/seats", headers={**SENT, "baggage": "tenant=blue"}))
    return [headers for _, _, headers, _ in api.asked]


async def test_third_party_is_called_below_the_attempt(brisk: Office, traces: Traces, api: ThirdParty) -> None:
    """With what else the client had its trace carry."""
    api.answers = [(503, {}, b""), api.answers[0]]
    got = await fetched(brisk, api)
    failed, done = traces.of("step ask")

    assert [headers["traceparent"] for headers in got] == [
        "-".join(("00", *identity(span), "01")) for span in (failed, done)
    ]
    assert (identity(failed)[0], is_error(failed), is_error(done)) == (TRACE, True, False)
    assert [headers["baggage"] for headers in got] == ["tenant=blue"] * 2


async def test_header_that_the_handler_gives_is_sent(brisk: Office, api: ThirdParty) -> None:
    [headers] = await fetched(brisk, api, headers={"TraceParent": OTHER["traceparent"]})

    assert headers["traceparent"] == OTHER["traceparent"]


async def test_child_run_is_below_the_step_that_invokes_it(brisk: Office, traces: Traces) -> None:
    async def charged() -> str:
        return "charged"

    async def charge() -> Any:
        return {"charge": await step.run("charge", charged)}

    async def order() -> Any:
        return await step.invoke("pay", endpoint="charge")

    brisk.add("/charge", charge)
    brisk.add("/order", order)
    async with opened(brisk):
        assert await brisk.end_of(await brisk.get("/order", headers=SENT)) == {"charge": "charged"}
    pay, child = traces.only("step pay"), traces.only("run charge")

    assert parent(pay) in [identity(run) for run in traces.of("run order")]
    assert parent(child) == identity(pay)
    assert (pay.kind, child.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert (facts(pay)["step"], facts(child)["pass"]) == ("pay", "reentry")
    assert {identity(span)[0] for span in traces.all()} == {TRACE}
    assert not any(map(is_error, traces.all()))


async def test_child_run_of_an_endpoint_that_is_none_is_an_error(office: Office, traces: Traces) -> None:
    async def order() -> Any:
        return await step.invoke("pay", endpoint="nobody")

    office.add("/order", order)
    async with opened(office):
        assert (await office.get("/order")).status_code == 500

    assert is_error(traces.only("step pay"))


def add_nap(office: Office) -> None:
    """Add the endpoint ``/nap``: a step, and a pause of a minute."""

    async def lie_down() -> str:
        return "down"

    async def nap() -> Any:
        await step.run("lie down", lie_down)
        await step.sleep("pause", "1m")
        return {}

    office.add("/nap", nap)


async def test_who_waits_is_in_the_trace_of_the_run(office: Office, traces: Traces) -> None:
    """Each time, and with what the run has come to."""
    add_nap(office)
    async with opened(office):
        location = await office.parked("/nap", headers=SENT)
        await office.get(location, headers={"Prefer": "wait=0"})
        await office.advance("1m")
        await office.end(location)
    first, last = traces.of("wait nap")

    assert parent(first) == parent(last) == (TRACE, CLIENT_SPAN)
    assert first.kind is SpanKind.SERVER
    assert (facts(first)["status"], facts(last)["status"]) == ("waiting", "completed")
    assert facts(last)["run_id"] == location.split("/")[3]


async def test_who_waits_is_linked_from_a_trace_of_its_own(office: Office, traces: Traces) -> None:
    """Where the framework is instrumented: a browser's second request has another trace than its first."""
    instrument_framework(office.app, traces)
    add_nap(office)
    async with opened(office):
        location = await office.parked("/nap", headers=SENT)
        await office.get(location, headers={**OTHER, "Prefer": "wait=0"})
    waiting = traces.only("wait nap")
    asking = traces.only(f"GET {location.split('?')[0]}")

    assert identity(asking)[0] == OTHER["traceparent"].split("-")[1]
    assert parent(waiting) == (TRACE, CLIENT_SPAN)
    assert links(waiting) == [identity(asking)]


async def test_who_waits_in_the_trace_of_the_run_is_below_its_own_request(office: Office, traces: Traces) -> None:
    """As where an instrumented client follows the redirect."""
    instrument_framework(office.app, traces)
    add_nap(office)
    async with opened(office):
        location = await office.parked("/nap", headers=SENT)
        await office.get(location, headers={**SENT, "Prefer": "wait=0"})
    waiting = traces.only("wait nap")

    assert parent(waiting) == identity(traces.only(f"GET {location.split('?')[0]}"))
    assert (links(waiting), waiting.kind) == ([], SpanKind.INTERNAL)


async def test_passes_are_below_the_spans_of_the_framework(office: Office, traces: Traces) -> None:
    """Which finds the trace of a re-entry in its headers, also where the client sent none."""
    instrument_framework(office.app, traces)
    add_nap(office)
    async with opened(office):
        location = await office.parked("/nap")
        await office.advance("1m")
        await office.end(location)
    first, second = traces.of("run nap")
    served, reentered = traces.of("GET /nap")

    assert (parent(served), parent(first)) == (None, identity(served))
    assert (parent(reentered), parent(second)) == (identity(first), identity(reentered))
    assert first.kind is second.kind is SpanKind.INTERNAL


async def test_runs_at_the_same_time_have_their_own_traces(office: Office, traces: Traces) -> None:
    add_nap(office)
    async with opened(office):
        sent = [{"traceparent": f"00-{number:032x}-{CLIENT_SPAN}-01"} for number in (1, 2, 3)]
        locations = await asyncio.gather(*(office.parked("/nap", headers=headers) for headers in sent))
        await office.advance("1m")
        await asyncio.gather(*map(office.end, locations))
    runs = {location.split("/")[3]: number for location, number in zip(locations, (1, 2, 3), strict=True)}

    assert len(traces.of("run nap")) == 6
    for span in traces.all():
        assert int(identity(span)[0], 16) == runs[facts(span)["run_id"]]
