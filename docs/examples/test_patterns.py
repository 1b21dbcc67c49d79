"""The patterns that no example application shows: what `patterns.md` says of them happens."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from inngest_durable import EmbeddedEngine, Event, Inngest, step
from inngest_durable.quart import endpoint_adapter
from inngest_durable.testing import VirtualClock
from quart import Quart

from docs.examples import awaited, drawn, fetched, invoked, raced, retried


@pytest.fixture(autouse=True)
def _own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_DURABLE_DB", str(tmp_path / "durable.db"))


@asynccontextmanager
async def served(app: Quart, inngest: Inngest) -> AsyncIterator[tuple[Any, VirtualClock]]:
    """Start *app* on a clock that the test moves; give a client of it, and the clock."""
    assert isinstance(inngest.engine, EmbeddedEngine)
    clock = VirtualClock()
    inngest.engine.clock = clock
    async with app.test_app() as running:
        yield running.test_client(), clock


async def answer_of(client: Any, clock: VirtualClock, redirect: Any) -> Any:
    """
    Move the time on until the run has ended; return its answer.

    In small moves: the database commits in a thread, which the clock does not wait for.
    """
    async with asyncio.timeout(30):
        while True:
            answer = await client.get(redirect.headers["location"], headers={"Prefer": "wait=0"})
            if answer.status_code != 303:
                return answer
            await clock.advance("10m")
            await asyncio.sleep(0.01)


async def test_winner_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay would draw somebody else, and at another time."""
    drawn.told[:] = []
    winners = iter(("ada", "bob"))
    monkeypatch.setattr(random, "choice", lambda players: next(winners))
    async with served(drawn.app, drawn.inngest) as (client, clock):
        redirect = await client.post("/raffles/ada-bob")
        answer = await answer_of(client, clock, redirect)

        assert (await answer.get_json())["winner"] == "ada"
    assert drawn.told == ["ada"]


async def test_step_that_a_timeout_has_left_is_there_at_the_replay() -> None:
    """The step ends and is recorded, so the replay does not time out, and takes the other way."""
    app = Quart(__name__)
    inngest = Inngest("impatient", endpoint_adapter)
    may_answer = asyncio.Event()

    async def slow() -> str:
        await may_answer.wait()
        return "answer"

    @app.post("/")
    @inngest.endpoint
    async def ask() -> str:
        try:
            async with asyncio.timeout(0.01):
                heard = await step.run("ask", slow)
        except TimeoutError:
            heard = "nothing"
            may_answer.set()
        await step.sleep("pause", "1h")
        return heard

    inngest.init_app(app)
    async with served(app, inngest) as (client, clock):
        redirect = await client.post("/")
        answer = await answer_of(client, clock, redirect)

        assert (redirect.status_code, await answer.get_data(as_text=True)) == (303, "answer")


async def test_letter_is_mailed_after_two_failures() -> None:
    """One attempt waits for the policy's pause, one as long as the error says."""
    retried.answers[:], retried.delivered[:] = ["lost", "closed until tomorrow"], []
    async with served(retried.app, retried.inngest) as (client, clock):
        began = clock.now()
        redirect = await client.post("/invoices/17")
        answer = await answer_of(client, clock, redirect)

        assert (redirect.status_code, await answer.get_json()) == (303, {"sent": True})
        assert clock.now() - began >= 12 * 3600
    assert retried.delivered == ["invoice 17"]


async def test_letter_without_an_address_is_not_tried_again() -> None:
    retried.answers[:], retried.delivered[:] = ["no such address"], []
    async with served(retried.app, retried.inngest) as (client, _):
        answer = await client.post("/invoices/18")

        assert answer.status_code == 502
        assert await answer.get_json() == {"sent": False, "attempts": 1, "why": "there is no such address"}
    assert retried.delivered == []


async def test_letter_is_tried_eleven_times() -> None:
    """The step's own ten retries, not the endpoint's five."""
    retried.answers[:] = ["lost"] * 50
    async with served(retried.app, retried.inngest) as (client, clock):
        redirect = await client.post("/invoices/19")
        answer = await answer_of(client, clock, redirect)

        assert (answer.status_code, (await answer.get_json())["attempts"]) == (502, 11)


async def test_child_run_pays_for_the_car() -> None:
    """The parent gets the child's answer, also though it waits for it behind a redirect."""
    invoked.charged[:] = []
    async with served(invoked.app, invoked.inngest) as (client, clock):
        redirect = await client.post("/rentals/mini", json={"customer": "ada"})
        await clock.settle()
        answer = await client.get(redirect.headers["location"])

        assert await answer.get_json() == {"rented": True, "car": "mini", "payment": {"receipt": "ada paid 80"}}
    assert len(invoked.charged) == 1


async def test_child_that_fails_is_a_step_error() -> None:
    async with served(invoked.app, invoked.inngest) as (client, clock):
        redirect = await client.post("/rentals/mini", json={"customer": "nobody"})
        await clock.settle()
        answer = await client.get(redirect.headers["location"])
        body = await answer.get_json()

    assert (answer.status_code, body["rented"], len(body["childRun"])) == (402, False, 26)
    assert "404" in body["why"]


class Rates(BaseHTTPRequestHandler):
    """A service that fails once for each rate, knows one currency, and counts the keys it was asked with."""

    keys: ClassVar[list[str]] = []

    def do_GET(self) -> None:  # the name that http.server calls
        self.keys.append(self.headers["idempotency-key"])
        known = self.path == "/rates/EUR"
        self.send_response((503 if len(self.keys) == 1 else 200) if known else 404)
        self.end_headers()
        self.wfile.write(b'{"rate": 0.5}')

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    Rates.keys.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rates)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    monkeypatch.setenv("RATES_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("NO_PROXY", "*")
    try:
        yield Rates.keys
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


async def test_fetch_is_tried_again_with_the_same_key(rates: list[str]) -> None:
    async with served(fetched.app, fetched.inngest) as (client, clock):
        redirect = await client.get("/price/EUR")
        answer = await answer_of(client, clock, redirect)

        assert await answer.get_json() == {"currency": "EUR", "price": 50.0}
    assert len(rates) == 2
    assert len(set(rates)) == 1


async def test_fetch_returns_what_is_no_failure(rates: list[str]) -> None:
    async with served(fetched.app, fetched.inngest) as (client, _):
        answer = await client.get("/price/XYZ")

        assert (answer.status_code, len(rates)) == (404, 1)


async def test_one_event_wakes_all_who_wait_for_it() -> None:
    """Those for another article go on waiting, up to their time."""
    async with served(awaited.app, awaited.inngest) as (client, clock):
        tents = [await client.post("/reservations/tent") for _ in range(2)]
        boat = await client.post("/reservations/boat")
        await client.post("/deliveries", json={"article": "tent"})
        await clock.settle()
        for tent in tents:
            answer = await client.get(tent.headers["location"])
            assert await answer.get_json() == {"reserved": True, "shelf": "shelf of tent"}

        await clock.advance("7d")
        assert (await client.get(boat.headers["location"])).status_code == 410


async def test_signal_wakes_the_one_that_waits_for_it() -> None:
    """One that comes too early is gone, and its sender is told."""
    async with served(awaited.app, awaited.inngest) as (client, clock):
        early = await client.post("/bank/P1", json={"paid": True})
        waiting = await client.post("/payments/P1")
        called = await client.post("/bank/P1", json={"paid": True})
        await clock.settle()
        answer = await client.get(waiting.headers["location"])

        assert (early.status_code, called.status_code, await answer.get_json()) == (425, 200, {"paid": True})


@pytest.mark.parametrize(
    ("events", "answer"),
    [
        (["order/paid", "order/withdrawn"], {"shipped": True, "label": "label of 7"}),
        (["order/withdrawn", "order/paid"], {"shipped": False}),
    ],
)
async def test_what_comes_first_counts_in_every_replay(events: list[str], answer: dict[str, Any]) -> None:
    """Although the last pass of a run that goes on finds that both have come."""
    async with served(raced.app, raced.inngest) as (client, clock):
        redirect = await client.post("/orders/7")
        for name in events:
            await raced.inngest.send(Event(name, {"order": "7"}))
            await clock.settle()

        assert await (await answer_of(client, clock, redirect)).get_json() == answer
