"""
The application that is killed, of the framework that `colourless` stands for.

`create_quart_app` and `create_flask_app` take its folder from FOLDER.

    route              what its handler does; `handler` and `between` are places in its own code
    /trip              handler; step one; between; steps left and right at the same time; step three
    /held              step one, which takes until its gate opens; step two
    /sleepy?ms=        handler; step one; a pause; step two
    /flaky?ms=         step one; step flaky, which fails once and is due again after the pause; step two
    /journey/<name>?ms=
                       for many at a time: steps one, left and right, a pause, step three; all named by <name>
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from inngest_durable import EmbeddedEngine, Inngest
from quart import Quart

from testkit import colourless
from testkit.colourless import (
    adapter_of,
    endpoint_adapter,
    nap,
    parallel,
    request,
    step,
)
from testkit.effects import Effects
from testkit.pauses import count_from_disk
from testkit.records import database_of


def create_quart_app() -> Quart:
    """Return the application on Quart."""
    return build()[0]


def create_flask_app() -> Quart:
    """Return the application on Flask, whose runs go on at once."""
    return colourless.on_flask(build)


def build(prepare: Callable[[Inngest], None] | None = None) -> tuple[Quart, Inngest]:
    """Return the application, and its client, which *prepare* is called with before it has endpoints."""
    count_from_disk()
    folder = Path(os.environ["FOLDER"])
    app, effects = colourless.web().app(__name__), Effects(folder)
    inngest = Inngest("crash", adapter_of(endpoint_adapter), EmbeddedEngine(database_of(folder)))
    if prepare is not None:
        prepare(inngest)
    _add_trips(app, inngest, effects)
    _add_journeys(app, inngest, effects)
    inngest.init_app(app)
    return app, inngest


def _add_trips(app: Quart, inngest: Inngest, effects: Effects) -> None:
    @app.get("/trip")
    @inngest.endpoint
    async def trip() -> list[str]:
        effects.pass_by("handler")
        one = await step.run("one", effects.perform, "one")
        effects.pass_by("between")
        left, right = await parallel(
            lambda: step.run("left", effects.perform, "left"), lambda: step.run("right", effects.perform, "right")
        )
        return [one, left, right, await step.run("three", effects.perform, "three")]

    @app.get("/held")
    @inngest.endpoint
    async def held() -> list[str]:
        one = await step.run("one", effects.perform_held, "one")
        return [one, await step.run("two", effects.perform, "two")]

    @app.get("/sleepy")
    @inngest.endpoint
    async def sleepy() -> list[str]:
        effects.pass_by("handler")
        one = await step.run("one", effects.perform, "one")
        await step.sleep("pause", timedelta(milliseconds=request.args.get("ms", 0, type=int)))
        return [one, await step.run("two", effects.perform, "two")]

    @app.get("/flaky")
    @inngest.endpoint
    async def flaky() -> list[str]:
        one = await step.run("one", effects.perform, "one")
        pause = request.args.get("ms", 0, type=int)
        flaky = await step.run("flaky", effects.perform_at_second_call, "flaky", pause)
        return [one, flaky, await step.run("two", effects.perform, "two")]


def _add_journeys(app: Quart, inngest: Inngest, effects: Effects) -> None:
    async def perform(action: str) -> str:
        token = effects.perform(action)
        # Time between an effect and its checkpoint, for a kill to fall into.
        await nap(0.01)
        return token

    @app.get("/journey/<name>")
    @inngest.endpoint
    async def journey(name: str) -> dict[str, str]:
        one = await step.run("one", perform, f"{name}/one")
        left, right = await parallel(
            lambda: step.run("left", perform, f"{name}/left"), lambda: step.run("right", perform, f"{name}/right")
        )
        await step.sleep("pause", timedelta(milliseconds=request.args.get("ms", 0, type=int)))
        return {"one": one, "left": left, "right": right, "three": await step.run("three", perform, f"{name}/three")}
