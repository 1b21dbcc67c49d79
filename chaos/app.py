"""
The application that the workers serve, of the framework that `colourless` stands for; it takes its folder from FOLDER.

Every step has an effect in the `World`, then takes some time, and returns the effect's token. All routes are named by
the request, and all but the last are what the clients ask for:

    route                     what its handler does
    /chain/<name>?ms=         steps one, two, three, one after the other
    /fan/<name>?ms=           step one; steps left, middle and right at the same time; step last
    /flaky/<name>?ms=&fails=  step one; step flaky, which fails so many times; step two
    /nap/<name>?ms=&pause=    step one; a pause in milliseconds; step two
    /told/<name>?ms=          step one; waits for an event, then for another one; step two
    /parent/<name>?ms=        step one; invokes /child; step two
    /saga/<name>?ms=          step reserve; step charge, which is refused for good; step release; answers 402
    /child/<name>?ms=         steps child-one and child-two
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from inngest_durable import EmbeddedEngine, Inngest, NonRetriableError, RetryPolicy, StepError
from quart import Quart

from chaos.disk import database_in
from chaos.kinds import EVENT, EVENT_KEY, REFUSAL
from chaos.world import World
from testkit import colourless
from testkit.colourless import (
    adapter_of,
    endpoint_adapter,
    nap,
    parallel,
    request,
    step,
)
from testkit.outside import OutageError

# A copy of the machine has third parties that fail anew: enough attempts for that.
RETRIES = RetryPolicy(max_retries=6, initial="200ms", factor=1, jitter=False)


def create_quart_app() -> Quart:
    """Return the application on Quart."""
    return _build()[0]


def create_flask_app() -> Quart:
    """Return the application on Flask, whose runs go on at once."""
    return colourless.on_flask(_build)


def _build() -> tuple[Quart, Inngest]:
    _end_with_parent()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    )
    folder = Path(os.environ["FOLDER"])
    world = World(folder)
    world.clock.install()
    app = colourless.web().app(__name__)
    engine = EmbeddedEngine(database_in(folder), shutdown_grace="5s")
    # Applications of their own: a run goes on in the framework that it began in.
    app_id = "chaos-flask" if colourless.web().blocks else "chaos-quart"
    inngest = Inngest(app_id, adapter_of(endpoint_adapter), engine, event_key=EVENT_KEY)
    deeds = Deeds(world)
    _add_journeys(app, inngest, deeds)
    _add_waits(app, inngest, deeds)
    _add_failures(app, inngest, deeds)
    inngest.init_app(app)
    return app, inngest


def _end_with_parent() -> None:
    """End this worker when the process that it was forked from is gone: nobody else would."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


class Deeds:
    """What the steps do."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def act(self, name: str, step_id: str) -> str:
        """Execute a step that has an effect; return its token."""
        return await step.run(step_id, self.perform, name, step_id, _number("ms"))

    async def act_in_the_end(self, name: str, step_id: str, fails: int) -> str:
        """Execute one whose third party fails some times."""
        return await step.run(step_id, self.perform, name, step_id, _number("ms"), fails)

    async def perform(self, name: str, step_id: str, milliseconds: int, fails: int = 0) -> str:
        """Have the effect of a step; at the first *fails* calls, that of failing."""
        key = step.idempotency_key()
        if fails and self._world.refuses(name, step_id, key, fails):
            raise OutageError(f"{name} is down")
        token = self._world.perform(name, step_id, key)
        # Time between the effect and its checkpoint, for a kill to fall into.
        await nap(milliseconds / 1000)
        return token

    async def refuse(self, name: str, step_id: str) -> str:
        """Have the effect of being refused for good."""
        self._world.perform(name, step_id, step.idempotency_key(), refused=True)
        raise NonRetriableError(REFUSAL)


def _number(name: str) -> int:
    return request.args.get(name, 0, type=int)


def _add_journeys(app: Quart, inngest: Inngest, deeds: Deeds) -> None:
    act = deeds.act

    @app.get("/chain/<name>")
    @inngest.endpoint(id="chain", retries=RETRIES)
    async def chain(name: str) -> dict[str, str]:
        return {"one": await act(name, "one"), "two": await act(name, "two"), "three": await act(name, "three")}

    @app.get("/fan/<name>")
    @inngest.endpoint(id="fan", retries=RETRIES)
    async def fan(name: str) -> dict[str, str]:
        milliseconds = _number("ms")

        def branch(step_id: str) -> Any:
            return lambda: step.run(step_id, deeds.perform, name, step_id, milliseconds)

        one = await act(name, "one")
        left, middle, right = await parallel(branch("left"), branch("middle"), branch("right"))
        return {"one": one, "left": left, "middle": middle, "right": right, "last": await act(name, "last")}

    @app.get("/nap/<name>")
    @inngest.endpoint(id="nap", retries=RETRIES)
    async def pausing(name: str) -> dict[str, str]:
        one = await act(name, "one")
        await step.sleep("pause", timedelta(milliseconds=_number("pause")))
        return {"one": one, "two": await act(name, "two")}


def _add_waits(app: Quart, inngest: Inngest, deeds: Deeds) -> None:
    act = deeds.act

    @app.get("/told/<name>")
    @inngest.endpoint(id="told", retries=RETRIES)
    async def told(name: str) -> dict[str, Any]:
        one, numbers = await act(name, "one"), []
        for step_id in ("first", "second"):
            # The second one is for an event that the first has not taken.
            event = await step.wait_for_event(
                step_id, event=EVENT, match={"data.name": name}, timeout="24h", since="run"
            )
            numbers.append(event and event.data["number"])
        return {"one": one, "numbers": numbers, "two": await act(name, "two")}

    @app.get("/child/<name>")
    @inngest.endpoint(id="child", retries=RETRIES)
    async def child(name: str) -> dict[str, str]:
        return {"child-one": await act(name, "child-one"), "child-two": await act(name, "child-two")}

    @app.get("/parent/<name>")
    @inngest.endpoint(id="parent", retries=RETRIES)
    async def parent(name: str) -> dict[str, Any]:
        one = await act(name, "one")
        called = await step.invoke("call", endpoint=child, params={"name": name, "ms": _number("ms")})
        return {"one": one, "child": called, "two": await act(name, "two")}


def _add_failures(app: Quart, inngest: Inngest, deeds: Deeds) -> None:
    act = deeds.act

    @app.get("/flaky/<name>")
    @inngest.endpoint(id="flaky", retries=RETRIES)
    async def flaky(name: str) -> dict[str, str]:
        one = await act(name, "one")
        in_the_end = await deeds.act_in_the_end(name, "flaky", _number("fails"))
        return {"one": one, "flaky": in_the_end, "two": await act(name, "two")}

    @app.get("/saga/<name>")
    @inngest.endpoint(id="saga", retries=RETRIES)
    async def saga(name: str) -> tuple[dict[str, str], int]:
        seat = await act(name, "reserve")
        try:
            await step.run("charge", deeds.refuse, name, "charge")
        except StepError as refused:
            released = await act(name, "release")
            return {"reserve": seat, "release": released, "error": refused.message}, 402
        return {"reserve": seat}, 200
