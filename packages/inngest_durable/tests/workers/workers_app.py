"""
The application that several workers serve, on Quart; `create_app` takes its folder from FOLDER.

Its database is in there, or where DATABASE says. When it stops, it tries for CLOSE_SECONDS to write what is unwritten.

Each execution of a step leaves a line with a token of its own, which is also the step's result, and with the time.

    route                    what its handler does
    /chain/<name>?ms=        steps one, two, three, each of so many milliseconds; answers their results
    /fan/<name>?ms=          step one; steps left, middle and right at the same time; step three
    /nap/<name>?ms=&pause=   step one; a pause in milliseconds; step two
    /held/<name>             step one; step two, which takes until the gate <name> opens; step three
    /held-first/<name>       step one, which takes until the gate <name> opens; step two
    /waits/<name>            waits for the event "go" of that name; step after
    /alive/<name>            the same, while step work takes until the gate <name> opens
    /poison                  step one; a short pause; step poison, which kills its process
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from datetime import timedelta
from pathlib import Path

from inngest_durable import EmbeddedEngine, Inngest, step
from inngest_durable.engines.embedded import store
from inngest_durable.quart import endpoint_adapter
from quart import Quart, request

from testkit.outside import Outside
from testkit.records import database_of

EVENT_KEY = "key"
# Deaths with the poison run as the only suspect, before it is failed.
MAX_RECOVERIES = 3


def create_app() -> Quart:
    """Return the application."""
    folder = Path(os.environ["FOLDER"])
    database = os.environ.get("DATABASE") or database_of(folder)
    if seconds := os.environ.get("CLOSE_SECONDS"):
        store._CLOSE_SECONDS = float(seconds)
    app, deeds = Quart(__name__), Deeds(Outside(folder))
    engine = EmbeddedEngine(database, max_recoveries=MAX_RECOVERIES, shutdown_grace="2s")
    inngest = Inngest("workers", endpoint_adapter, engine, event_key=EVENT_KEY)
    _add_journeys(app, inngest, deeds)
    _add_held(app, inngest, deeds)
    _add_waits(app, inngest, deeds)
    _add_poison(app, inngest, deeds)
    inngest.init_app(app)
    return app


class Deeds:
    """What the steps do to the outside world."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def perform(self, action: str, milliseconds: int = 0) -> str:
        """Have an effect, then take some time: for a kill to fall between it and the checkpoint."""
        token = uuid.uuid4().hex
        self._outside.record(action, token=token, at=time.time())
        await asyncio.sleep(milliseconds / 1000)
        return token

    async def perform_held(self, action: str, gate: str) -> str:
        """Have an effect, and end when *gate* opens."""
        token = await self.perform(action)
        while not self._outside.is_open(gate):
            await asyncio.sleep(0.002)
        return token

    async def die(self) -> None:
        """Have an effect that kills this process."""
        await self.perform("poison")
        os.kill(os.getpid(), signal.SIGKILL)


def _milliseconds(name: str) -> int:
    return request.args.get(name, 0, type=int)


def _add_journeys(app: Quart, inngest: Inngest, deeds: Deeds) -> None:
    async def act(name: str, step_id: str) -> str:
        return await step.run(step_id, deeds.perform, f"{name}/{step_id}", _milliseconds("ms"))

    @app.get("/chain/<name>")
    @inngest.endpoint
    async def chain(name: str) -> dict[str, str]:
        return {key: await act(name, key) for key in ("one", "two", "three")}

    @app.get("/fan/<name>")
    @inngest.endpoint
    async def fan(name: str) -> dict[str, str]:
        one = await act(name, "one")
        left, middle, right = await asyncio.gather(act(name, "left"), act(name, "middle"), act(name, "right"))
        return {"one": one, "left": left, "middle": middle, "right": right, "three": await act(name, "three")}

    @app.get("/nap/<name>")
    @inngest.endpoint
    async def nap(name: str) -> dict[str, str]:
        one = await act(name, "one")
        await step.sleep("pause", timedelta(milliseconds=_milliseconds("pause")))
        return {"one": one, "two": await act(name, "two")}


def _add_held(app: Quart, inngest: Inngest, deeds: Deeds) -> None:
    @app.get("/held/<name>")
    @inngest.endpoint
    async def held(name: str) -> dict[str, str]:
        one = await step.run("one", deeds.perform, f"{name}/one")
        two = await step.run("two", deeds.perform_held, f"{name}/two", name)
        return {"one": one, "two": two, "three": await step.run("three", deeds.perform, f"{name}/three")}

    @app.get("/held-first/<name>")
    @inngest.endpoint
    async def held_first(name: str) -> dict[str, str]:
        one = await step.run("one", deeds.perform_held, f"{name}/one", name)
        return {"one": one, "two": await step.run("two", deeds.perform, f"{name}/two")}


def _add_waits(app: Quart, inngest: Inngest, deeds: Deeds) -> None:
    async def woken(name: str) -> str:
        await step.wait_for_event("go", event="go", match={"data.name": name}, timeout="1h")
        return await step.run("after", deeds.perform, f"{name}/after")

    @app.get("/waits/<name>")
    @inngest.endpoint
    async def waits(name: str) -> str:
        return await woken(name)

    @app.get("/alive/<name>")
    @inngest.endpoint
    async def alive(name: str) -> list[str]:
        work = step.run("work", deeds.perform_held, f"{name}/work", name)
        return list(await asyncio.gather(work, woken(name)))


def _add_poison(app: Quart, inngest: Inngest, deeds: Deeds) -> None:
    @app.get("/poison")
    @inngest.endpoint
    async def poison() -> str:
        await step.run("one", deeds.perform, "before")
        await step.sleep("pause", "100ms")
        await step.run("poison", deeds.die)
        return "never"
