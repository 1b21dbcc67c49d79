"""Tests of handlers that wait for an event, ask another service, call another endpoint, or are cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from inngest_durable import EmbeddedEngine, Event, Inngest, step
from inngest_durable.quart import endpoint_adapter
from inngest_durable.testing import MemoryStore, VirtualClock
from quart import Quart
from quart.typing import TestClientProtocol as Client


def create_app(engine: EmbeddedEngine) -> tuple[Quart, Inngest]:
    """Return the application to test, and its client."""
    app = Quart(__name__)
    inngest = Inngest("trips", endpoint_adapter, engine)

    @app.post("/trips/<trip>")
    @inngest.endpoint(id="trip")
    async def approve(trip: str) -> Any:
        decision = await step.wait_for_event("decision", event="trip/decided", match={"data.trip": trip}, timeout="24h")
        return {"approved": decision is not None and decision.data["yes"]}

    @app.post("/prices/<currency>")
    @inngest.endpoint(id="price")
    async def price(currency: str) -> Any:
        answer = await step.fetch("rate", f"https://rates.example/{currency}")
        return {"price": 100 * answer.json()["rate"]}

    @app.post("/tours/<currency>")
    @inngest.endpoint(id="tour")
    async def tour(currency: str) -> Any:
        return await step.invoke("price", endpoint=price, params={"currency": currency}, json={})

    inngest.init_app(app)
    return app, inngest


class Trips:
    """The application while a test runs."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.app, self.inngest = create_app(EmbeddedEngine(store=MemoryStore(), clock=self.clock))
        self.client: Client = self.app.test_client()


@pytest.fixture
async def trips() -> AsyncIterator[Trips]:
    trips = Trips()
    async with trips.app.test_app():
        yield trips


async def test_trip_is_approved_by_an_event(trips: Trips) -> None:
    """Send it as the application does, let the run go on, and ask for the answer."""
    redirect = await trips.client.post("/trips/7")
    await trips.inngest.send(Event("trip/decided", {"trip": "8", "yes": False}))
    await trips.inngest.send(Event("trip/decided", {"trip": "7", "yes": True}))
    await trips.clock.settle()

    answer = await trips.client.get(redirect.headers["location"])
    assert await answer.get_json() == {"approved": True}


async def test_nobody_decides(trips: Trips) -> None:
    """The wait's timeout passes on the clock."""
    redirect = await trips.client.post("/trips/7")
    await trips.clock.advance("24h")

    answer = await trips.client.get(redirect.headers["location"])
    assert await answer.get_json() == {"approved": False}


async def test_cancelled_trip_is_not_approved_any_more(trips: Trips) -> None:
    """Its clients get a `410`, and what comes later wakes nobody."""
    redirect = await trips.client.post("/trips/7")
    assert await trips.inngest.cancel(redirect.headers["x-inngest-run-id"])
    await trips.inngest.send(Event("trip/decided", {"trip": "7", "yes": True}))

    answer = await trips.client.get(redirect.headers["location"])
    assert answer.status_code == 410


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    """Answer in place of the other service; its first answer is an error. `respx` and `pytest-httpx` do the same."""
    requests: list[httpx.Request] = []

    async def answer(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(503 if len(requests) == 1 else 200, json={"rate": 0.5})

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", answer)
    return requests


async def test_rate_is_asked_for_again(trips: Trips, rates: list[httpx.Request]) -> None:
    """`step.fetch` sends its request by httpx: with Flask, by `httpx.HTTPTransport.handle_request`."""
    redirect = await trips.client.post("/prices/EUR")
    await trips.clock.advance("1m")

    answer = await trips.client.get(redirect.headers["location"])
    assert await answer.get_json() == {"price": 50.0}
    assert len({request.headers["idempotency-key"] for request in rates}) == 1


async def test_tour_is_priced_by_a_child_run(trips: Trips, rates: list[httpx.Request]) -> None:
    """The child is served by the application, so the test has nothing to replace but what the child asks."""
    redirect = await trips.client.post("/tours/EUR")
    await trips.clock.advance("1m")

    answer = await trips.client.get(redirect.headers["location"])
    assert await answer.get_json() == {"price": 50.0}
    assert len(rates) == 2
