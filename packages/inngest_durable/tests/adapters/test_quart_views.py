"""Ways to write an endpoint on Quart: task groups, nested tasks, class-based views; and what cannot be one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from inngest_durable import ConfigurationError, EmbeddedEngine, Event, Inngest, step
from inngest_durable.quart import endpoint_adapter
from inngest_durable.testing import MemoryStore
from quart import Quart, Response, request, websocket
from quart.views import MethodView
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Message, Request, TextMessage

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.quart_app import small_app
from testkit.records import database_of
from testkit.servers import HypercornThread, UvicornThread


def test_taskgroup_branches_are_retried_one_by_one(tmp_path: Path, serve: Serve) -> None:
    """A failed step in a task group tears the group down, and only that step runs again."""
    app, inngest, outside = small_app(tmp_path)

    @app.get("/")
    @inngest.endpoint(retries=QUICK)
    async def handler() -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(step.run("flight", outside.act, "flight")),
                group.create_task(step.run("hotel", outside.act, "hotel", 2)),
                group.create_task(step.run("car", outside.act, "car")),
            ]
        return [task.result() for task in tasks]

    inngest.init_app(app)
    site = serve(app, inngest)

    assert site.follow(site.get("/")).json() == ["flight#1", "hotel#3", "car#1"]
    assert outside.counts() == {"flight": 1, "hotel": 3, "car": 1}


def test_step_is_called_from_a_thread_for_the_handlers_loop(tmp_path: Path, serve: Serve) -> None:
    """A library that works in a thread may call back by `asyncio.run_coroutine_threadsafe`."""
    app, inngest, outside = small_app(tmp_path)

    @app.get("/")
    @inngest.endpoint
    async def handler() -> list[str]:
        loop = asyncio.get_running_loop()

        def work() -> str:
            return asyncio.run_coroutine_threadsafe(step.run("first", outside.act, "first"), loop).result()

        return [await asyncio.to_thread(work)]

    inngest.init_app(app)
    site = serve(app, inngest)

    assert site.follow(site.get("/")).json() == ["first#1"]


def test_steps_are_called_from_nested_tasks(tmp_path: Path, serve: Serve) -> None:
    """Tasks that start tasks, all with the same step IDs, each get their own results, after a failure too."""
    app, inngest, outside = small_app(tmp_path)

    async def travel(name: str) -> list[str]:
        async with asyncio.TaskGroup() as group:
            there = group.create_task(leg(f"{name} there"))
            back = group.create_task(leg(f"{name} back"))
        return [there.result(), back.result(), await step.run("invoice", outside.act, f"{name} invoice")]

    async def leg(name: str) -> str:
        return await step.run("leg", outside.act, name, 1 if name == "bob back" else 0)

    @app.get("/")
    @inngest.endpoint(retries=QUICK)
    async def handler() -> list[list[str]]:
        return list(await asyncio.gather(travel("alice"), asyncio.create_task(travel("bob"))))

    inngest.init_app(app)
    site = serve(app, inngest)

    assert site.follow(site.get("/")).json() == [
        ["alice there#1", "alice back#1", "alice invoice#1"],
        ["bob there#1", "bob back#2", "bob invoice#1"],
    ]
    assert outside.counts() == {
        **dict.fromkeys(("alice there", "alice back", "alice invoice", "bob there", "bob invoice"), 1),
        "bob back": 2,
    }


def test_method_view_is_an_endpoint(tmp_path: Path, serve: Serve) -> None:
    """Methods of a class-based view are decorated one by one."""
    app, inngest, outside = small_app(tmp_path)

    class Orders(MethodView):
        @inngest.endpoint(retries=QUICK)
        async def get(self, number: int) -> dict[str, Any]:
            return {"number": number, "read": await step.run("read", outside.act, "read", 1)}

        @inngest.endpoint(retries=QUICK)
        async def post(self, number: int) -> tuple[dict[str, Any], int]:
            body = await request.get_json()
            return {"body": body, "wrote": await step.run("write", outside.act, "write", 1)}, 201

    app.add_url_rule("/orders/<int:number>", view_func=Orders.as_view("orders"))
    inngest.init_app(app)
    site = serve(app, inngest)
    read = site.follow(site.get("/orders/7"))
    wrote = site.follow(site.client.post("/orders/7", json=[1]))

    assert (read.status_code, read.json()) == (200, {"number": 7, "read": "read#2"})
    assert (wrote.status_code, wrote.json()) == (201, {"body": [1], "wrote": "write#2"})


def test_views_decorated_as_a_whole_are_endpoints(tmp_path: Path, serve: Serve) -> None:
    """``decorators = [inngest.endpoint]`` works as for other decorators, for several views in one module."""
    app, inngest, outside = small_app(tmp_path)

    class Orders(MethodView):
        decorators = [inngest.endpoint]  # noqa: RUF012  # as Quart documents it

        async def get(self) -> str:
            return await step.run("order", outside.act, "order")

    class Invoices(MethodView):
        decorators = [inngest.endpoint]  # noqa: RUF012

        async def get(self) -> str:
            return await step.run("invoice", outside.act, "invoice")

    app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    app.add_url_rule("/invoices", view_func=Invoices.as_view("invoices"))
    inngest.init_app(app)
    site = serve(app, inngest)

    assert site.get("/orders").text == "order#1"
    assert site.get("/invoices").text == "invoice#1"


def test_step_in_a_streaming_body_is_refused(tmp_path: Path, serve: Serve) -> None:
    """The handler has returned when its stream runs: a step there is an error that says so, and the run ends."""
    app, inngest, outside = small_app(tmp_path)

    async def body() -> AsyncIterator[str]:
        yield "one "
        yield await step.run("two", outside.act, "two")

    @app.get("/")
    @inngest.endpoint(retries=QUICK)
    async def handler() -> Response:
        await step.run("one", outside.act, "one")
        return Response(body(), content_type="text/plain")

    inngest.init_app(app)
    site = serve(app, inngest)
    with pytest.raises(httpx.RemoteProtocolError):
        site.get("/")
    run = site.records.wait_for_only_run()

    assert run.status == "failed"
    assert "step 'two' was used outside an endpoint" in str(run.failure)
    assert outside.counts() == {"one": 1}


def test_def_handler_is_refused_when_it_is_decorated(tmp_path: Path) -> None:
    """Quart's endpoints are ``async def``; the error names the handler and the way out."""
    _, inngest, _ = small_app(tmp_path)

    with pytest.raises(ConfigurationError, match=r"book.*not `async def`.*inngest_durable\.flask"):

        @inngest.endpoint
        def book() -> str:
            return "booked"


def test_duplicate_endpoint_id_is_refused_when_it_is_decorated(tmp_path: Path) -> None:
    """Two handlers of one ID would take each other's runs; the error says how to name one."""
    _, inngest, _ = small_app(tmp_path)

    @inngest.endpoint(id="book")
    async def one() -> str:
        return "one"

    with pytest.raises(ConfigurationError, match=r"already an endpoint 'book'.*id="):

        @inngest.endpoint(id="book")
        async def two() -> str:
            return "two"


def test_client_without_adapter_says_which(tmp_path: Path) -> None:
    """A client made without an adapter cannot decorate; the error shows the import."""
    inngest = Inngest("shop", engine=EmbeddedEngine(database_of(tmp_path)))

    with pytest.raises(ConfigurationError, match="endpoint_adapter"):

        @inngest.endpoint
        async def book() -> str:
            return "booked"


async def test_endpoint_without_init_app_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A forgotten ``init_app`` is an error that names it, at the first request."""
    app, inngest, outside = small_app(tmp_path)

    @app.get("/")
    @inngest.endpoint
    async def handler() -> str:
        return await step.run("one", outside.act, "one")

    response = await app.test_client().get("/")

    assert response.status_code == 500
    assert "ConfigurationError" in caplog.text
    assert "this application is not connected: call inngest.init_app(app)" in caplog.text
    assert outside.counts() == {}


@pytest.mark.parametrize("server", [UvicornThread, HypercornThread])
def test_websocket_passes_through(tmp_path: Path, serve: Serve, server: type[Any]) -> None:
    """A websocket route of the application works as without this package."""
    app, inngest, _ = small_app(tmp_path)

    @app.websocket("/echo")
    async def echo() -> None:
        await websocket.send("you said " + str(await websocket.receive()))

    inngest.init_app(app)
    site = serve(app, inngest, server)

    assert _say(site.server.port, "/echo", "hello") == "you said hello"


def test_websocket_endpoint_is_refused(tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A websocket route cannot be durable: the connection is refused, no step runs, and the log says why."""
    app, inngest, outside = small_app(tmp_path)

    @app.websocket("/")
    @inngest.endpoint
    async def handler() -> None:
        await step.run("one", outside.act, "one")

    inngest.init_app(app)
    site = serve(app, inngest)

    with pytest.raises(AssertionError, match="closed"):
        _say(site.server.port, "/", "hello")
    assert outside.counts() == {}
    assert "is on a websocket route: a durable endpoint answers an HTTP request" in caplog.text


def _say(port: int, path: str, text: str) -> str:
    """Open a websocket, send *text*, and return the text that comes back."""
    protocol = WSConnection(ConnectionType.CLIENT)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(protocol.send(Request(host="test", target=path)))
        while True:
            data = connection.recv(4096)
            protocol.receive_data(data or None)
            for event in protocol.events():
                match event:
                    case AcceptConnection():
                        connection.sendall(protocol.send(Message(data=text)))
                    case TextMessage():
                        return event.data
            assert data, "the websocket was closed"


async def test_event_is_sent_in_a_background_task() -> None:
    """Quart looks whether it is a coroutine function."""
    store = MemoryStore()
    app, inngest = Quart(__name__), Inngest("background", endpoint_adapter, EmbeddedEngine(store=store))

    @app.get("/")
    async def send() -> str:
        app.add_background_task(inngest.send, Event("sent"))
        return "sent"

    inngest.init_app(app)
    async with app.test_app() as running:
        await running.test_client().get("/")

    assert store.oldest_event() is not None
