"""`inngest.sync`: what the client does, for code that cannot await."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import (
    ConfigurationError,
    EmbeddedEngine,
    Event,
    Inngest,
    RunNotFoundError,
    StepUsageError,
    step,
)
from inngest_durable._portal import portal
from inngest_durable.engines.records import Write
from inngest_durable.flask import FlaskAdapter
from inngest_durable.sync import step as sync_step
from inngest_durable.testing import MemoryStore

from packages.inngest_durable.tests.adapters import flask_app, quart_app
from testkit.waiting import wait_until

RUN_ID = "x-inngest-run-id"
UNKNOWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def test_flask_view_sends_to_a_run_that_waits(tmp_path: Path) -> None:
    """The view that a button calls wakes the run that another request began."""
    app, inngest, _ = flask_app.small_app(tmp_path)

    @app.get("/trip")
    @inngest.endpoint
    def trip() -> Any:
        decision = sync_step.wait_for_event("decision", event="trip/approved", timeout="1h")
        who = sync_step.wait_for_signal("who", signal="boss", timeout="1h")
        return {"approved": decision.data if decision else None, "who": who.data if who else None}

    @app.post("/decide")
    def decide() -> Any:
        [event_id] = inngest.sync.send(Event("trip/approved", {"yes": True}, id="one"))
        return {"id": event_id}

    @app.post("/sign")
    def sign() -> Any:
        return {"waited": inngest.sync.send_signal("boss", "Ann")}

    inngest.init_app(app)
    with inngest.running():
        client = app.test_client()
        wait_url = client.get("/trip").headers["location"]
        assert client.post("/decide").get_json() == {"id": "one"}
        # The run comes to its next wait in a thread of its own.
        wait_until(lambda: client.post("/sign").get_json()["waited"], "the run to wait for the signal")
        assert client.get(wait_url).get_json() == {"approved": {"yes": True}, "who": "Ann"}


def test_flask_view_cancels_a_run(tmp_path: Path) -> None:
    app, inngest, _ = flask_app.small_app(tmp_path)

    @app.get("/nap")
    @inngest.endpoint
    def nap() -> Any:
        sync_step.sleep("nap", "1h")
        return {}

    inngest.init_app(app)
    with inngest.running():
        client = app.test_client()
        redirect = client.get("/nap")
        assert inngest.sync.cancel(redirect.headers[RUN_ID]) is True
        assert client.get(redirect.headers["location"]).status_code == 410
        with pytest.raises(RunNotFoundError):
            inngest.sync.cancel(UNKNOWN)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("send", [Event("trip/told")]), ("send_signal", ["boss"]), ("cancel", [UNKNOWN]), ("unready", [])],
)
def test_flask_view_is_told_of_the_call_that_blocks(tmp_path: Path, name: str, arguments: list[Any]) -> None:
    """Without an error, the coroutine would be dropped: the event is never sent, and the view says that it was."""
    app, inngest, _ = flask_app.small_app(tmp_path)

    @app.post("/decide")
    def decide() -> Any:
        with pytest.raises(StepUsageError, match=rf"with Flask write inngest\.sync\.{name}\(…\)"):
            getattr(inngest, name)(*arguments)
        return {"refused": True}

    inngest.init_app(app)

    assert app.test_client().post("/decide").get_json() == {"refused": True}


def test_flask_handler_that_sends_wrongly_is_not_tried_again(tmp_path: Path) -> None:
    """The same code would fail again: the client has its 500 at once, and no redirect."""
    app, inngest, _ = flask_app.small_app(tmp_path)

    @app.post("/order")
    @inngest.endpoint
    def order() -> Any:
        sync_step.run("reserve", int)
        inngest.send(Event("order/placed"))  # type: ignore[unused-coroutine]  # the mistake
        return {}

    inngest.init_app(app)
    with inngest.running():
        assert app.test_client().post("/order").status_code == 500


async def test_script_without_a_framework_awaits_what_it_made_before() -> None:
    """A client without an adapter has no threads: a coroutine may be made anywhere, and awaited later."""
    inngest = Inngest("tests", engine=EmbeddedEngine(store=MemoryStore()))
    sending = await asyncio.to_thread(inngest.send, Event("trip/told", id="told"))
    async with inngest.running():
        assert await sending == ["told"]


async def test_thread_of_a_quart_application_sends(tmp_path: Path) -> None:
    """A `def` step function runs in a thread, and may block there."""
    app, inngest, _ = quart_app.small_app(tmp_path)

    def tell() -> list[str]:
        return inngest.sync.send(Event("trip/told", id="told"))

    @app.get("/tell")
    @inngest.endpoint
    async def endpoint() -> Any:
        return await step.run("tell", tell)

    inngest.init_app(app)
    async with app.test_app() as running:
        assert await (await running.test_client().get("/tell")).get_json() == ["told"]


async def test_event_loop_is_not_blocked(tmp_path: Path) -> None:
    """It would wait for itself."""
    app, inngest, _ = quart_app.small_app(tmp_path)
    inngest.init_app(app)
    async with inngest.running():
        with pytest.raises(ConfigurationError, match=r"write `await inngest.send\(…\)` here"):
            inngest.sync.send(Event("trip/told"))


def test_engine_that_does_not_run_is_not_waited_for(tmp_path: Path) -> None:
    app, inngest, _ = quart_app.small_app(tmp_path)
    inngest.init_app(app)

    with pytest.raises(ConfigurationError, match="start the engine first"):
        inngest.sync.cancel(UNKNOWN)


class NotingStore(MemoryStore):
    """Notes which event loops write."""

    def __init__(self) -> None:
        super().__init__()
        self.loops: set[asyncio.AbstractEventLoop] = set()

    def write(self, *writes: Write, lazy: bool = False) -> asyncio.Future[None]:
        self.loops.add(asyncio.get_running_loop())
        return super().write(*writes, lazy=lazy)


async def test_coroutine_of_a_flask_application_writes_where_its_engine_runs() -> None:
    """As of an `async def` view, which has an event loop of its own: a store is used by one thread alone."""
    store = NotingStore()
    inngest = Inngest("tests", FlaskAdapter(), EmbeddedEngine(store=store))
    with inngest.running():
        assert await inngest.send(Event("trip/told", id="told")) == ["told"]
        assert await inngest.send_signal("nobody") is False
        with pytest.raises(RunNotFoundError):
            await inngest.cancel(UNKNOWN)

    assert store.loops == {portal.loop}
