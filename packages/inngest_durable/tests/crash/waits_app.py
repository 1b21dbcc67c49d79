"""
The application that is killed while its runs wait for the world, of the framework that `colourless` stands for.

`create_quart_app` and `create_flask_app` take its folder from FOLDER.

    route              what its handler does; `handler`, `child`, `told` and `rows` are places where it may be killed
    /approval          handler; waits for the event "approved"; step after
    /signal            handler; waits for the signal "go"; step after
    /sender            handler; sends the event "approved"; step sent
    /signaller         handler; sends the signal "go"; step sent
    /parent            handler; calls /child; step after
    /child             child; step charge
    /top               calls one that calls /approval
    /go                sends the signal "go"
    /fetch?url=        step before; fetches *url*; step after

`rows` is in the transaction of what was sent, before its commit; `told` right after a commit that has completed a step
of a waiting run, before anybody was woken. `cancelling` and `cancelled` are the same of a cancellation.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Cursor
from typing import Any

from inngest_durable import EmbeddedEngine, Event, Inngest
from inngest_durable._core.effects import SendEvents, SendSignal
from inngest_durable.engines.embedded.writes import EXECUTE
from inngest_durable.engines.records import AddEvents, AddSignal, CancelRun, Found, SaveMemoWith
from quart import Quart

from testkit import colourless
from testkit.colourless import adapter_of, endpoint_adapter, request, send_signal, step
from testkit.effects import Effects
from testkit.pauses import count_from_disk
from testkit.records import database_of

KEY = "key"


class DeadlyEngine(EmbeddedEngine):
    """An engine that may die before it tells anybody of what has come."""

    def __init__(self, path: Path, effects: Effects) -> None:
        super().__init__(path)
        self._effects = effects

    def tell_found(self, found: Found) -> None:
        """Pass by a trap, then tell."""
        if found.resumed:
            self._effects.pass_by("told")
        if found.cancelled:
            self._effects.pass_by("cancelled")
        super().tell_found(found)


def create_quart_app() -> Quart:
    """Return the application on Quart."""
    return _build()[0]


def create_flask_app() -> Quart:
    """Return the application on Flask, whose runs go on at once."""
    return colourless.on_flask(_build)


def _build() -> tuple[Quart, Inngest]:
    count_from_disk()
    folder = Path(os.environ["FOLDER"])
    app, effects = colourless.web().app(__name__), Effects(folder)
    engine = DeadlyEngine(database_of(folder), effects)
    inngest = Inngest("crash", adapter_of(endpoint_adapter), engine, event_key=KEY)
    _set_traps(effects)
    _add_waits(app, inngest, effects)
    _add_family(app, inngest, effects)
    _add_fetch(app, inngest, effects)
    inngest.init_app(app)
    return app, inngest


def _set_traps(effects: Effects) -> None:
    def trapped(execute: Callable[[Cursor, Any], int]) -> Callable[[Cursor, Any], int]:
        def passed_by(cursor: Cursor, write: Any) -> int:
            written = execute(cursor, write)
            if isinstance(write, CancelRun):
                effects.pass_by("cancelling")
            elif not isinstance(write, SaveMemoWith) or isinstance(write.along, SendEvents | SendSignal):
                effects.pass_by("rows")
            return written

        return passed_by

    for kind in (AddEvents, AddSignal, SaveMemoWith, CancelRun):
        EXECUTE[kind] = trapped(EXECUTE[kind])


def _add_waits(app: Quart, inngest: Inngest, effects: Effects) -> None:
    @app.get("/approval")
    @inngest.endpoint(id="approval")
    async def approval() -> dict[str, Any]:
        effects.pass_by("handler")
        event = await step.wait_for_event("approval", event="approved", timeout="1h")
        return {"by": event and event.data["by"], "after": await step.run("after", effects.perform, "after")}

    @app.get("/signal")
    @inngest.endpoint
    async def signal() -> dict[str, Any]:
        effects.pass_by("handler")
        found = await step.wait_for_signal("signal", signal="go", timeout="1h")
        return {"by": found and found.data, "after": await step.run("after", effects.perform, "after")}

    @app.get("/go")
    async def go() -> dict[str, bool]:
        return {"waited": await send_signal(inngest, "go", "Ann")}

    @app.get("/sender")
    @inngest.endpoint
    async def sender() -> list[str]:
        effects.pass_by("handler")
        await step.send_event("tell", Event("approved", {"by": "Ann"}))
        return [await step.run("sent", effects.perform, "sent")]

    @app.get("/signaller")
    @inngest.endpoint
    async def signaller() -> dict[str, Any]:
        effects.pass_by("handler")
        waited = await step.send_signal("tell", "go", "Ann")
        return {"waited": waited, "sent": await step.run("sent", effects.perform, "sent")}


def _add_family(app: Quart, inngest: Inngest, effects: Effects) -> None:
    @app.get("/child")
    @inngest.endpoint(id="child")
    async def child() -> dict[str, str]:
        effects.pass_by("child")
        return {"charge": await step.run("charge", effects.perform, "charge")}

    @app.get("/parent")
    @inngest.endpoint
    async def parent() -> dict[str, Any]:
        effects.pass_by("handler")
        called = await step.invoke("call", endpoint=child)
        return {"called": called, "after": await step.run("after", effects.perform, "after")}

    @app.get("/middle")
    @inngest.endpoint(id="middle")
    async def middle() -> Any:
        return await step.invoke("call", endpoint="approval")

    @app.get("/top")
    @inngest.endpoint(id="top")
    async def top() -> Any:
        return await step.invoke("call", endpoint="middle")


def _add_fetch(app: Quart, inngest: Inngest, effects: Effects) -> None:
    @app.get("/fetch")
    @inngest.endpoint
    async def fetch() -> dict[str, Any]:
        await step.run("before", effects.perform, "before")
        answer = await step.fetch("ask", request.args["url"], method="POST", json={"seats": 2})
        return {"answer": answer.json(), "after": await step.run("after", effects.perform, "after")}
