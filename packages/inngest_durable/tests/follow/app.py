"""
The application whose runs are followed, of the framework that `colourless` stands for.

For servers in processes, `create_quart_app` and `create_flask_app` take its folder from FOLDER.

    route                what its handler does
    /trip                step search tells its progress, before and after its gate "search" opens; step pay
    /flaky               step pay fails once, then succeeds
    /fails               step pay fails for good, at its first attempt; the error leaves the handler
    /raises              step pay; then the handler itself raises, once
    /nap                 step before, a pause of an hour
    /held                step one tells its progress; step two takes until the gate "two" opens; step three
    /thread              step count is a `def` function that tells its progress
    /mine                step pay; whose keys these are is said: everybody's
    /between             step one; code of its own until the gate "plain" opens; step charge; left
    /parent, /child      the first invokes the second, whose step takes until the gate "child" opens
    /caller              invokes /between
    /chatty              step talk tells its progress more often than is recorded, and with too much
"""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

from inngest_durable import EmbeddedEngine, Inngest, NonRetriableError, RetryPolicy, progress
from inngest_durable._core.run_events import MOST_PROGRESS
from quart import Quart

from testkit import colourless
from testkit.colourless import adapter_of, endpoint_adapter, nap, step
from testkit.outside import Outside
from testkit.pauses import count_from_disk
from testkit.records import database_of

QUICK = RetryPolicy(max_retries=3, initial="200ms", factor=0.01, jitter=False)


def create_quart_app() -> Quart:
    """Return the application on Quart, for a server process."""
    logging.basicConfig(level=logging.INFO)
    count_from_disk()
    return build(Path(os.environ["FOLDER"]))[0]


def create_flask_app() -> Quart:
    """Return the application on Flask, for a server process, in which runs go on at once."""
    logging.basicConfig(level=logging.INFO)
    count_from_disk()
    return colourless.on_flask(partial(build, Path(os.environ["FOLDER"])))


def build(folder: Path, **options: Any) -> tuple[Quart, Inngest]:
    """Return the application on the database and the outside world in *folder*, and its client."""
    app, outside = colourless.web().app(__name__), Outside(folder)
    engine = EmbeddedEngine(database_of(folder), shutdown_grace="5s", **options)
    inngest = Inngest("follow", adapter_of(endpoint_adapter), engine)
    _add_quick(app, inngest, outside)
    _add_talking(app, inngest)
    _add_held(app, inngest, outside)
    _add_family(app, inngest, outside)
    inngest.init_app(app)
    return app, inngest


def _add_quick(app: Quart, inngest: Inngest, outside: Outside) -> None:
    def declined() -> str:
        raise NonRetriableError("the bank said no")

    @app.get("/flaky")
    @inngest.endpoint(retries=QUICK)
    async def flaky() -> dict[str, str]:
        return {"paid": await step.run("pay", outside.act, "pay", 1)}

    @app.get("/fails")
    @inngest.endpoint
    async def fails() -> str:
        return await step.run("pay", declined)

    @app.get("/raises")
    @inngest.endpoint(retries=QUICK)
    async def raises() -> str:
        paid = await step.run("pay", outside.act, "pay")
        if outside.record("handled") == 1:
            raise RuntimeError("the handler is not well")
        return paid

    @app.route("/mine", methods=["GET", "POST"])
    @inngest.endpoint(id="mine", idempotency_scope=lambda: "")
    async def mine() -> str:
        return await step.run("pay", outside.act, "pay")


def _add_talking(app: Quart, inngest: Inngest) -> None:
    async def talk() -> None:
        # Of the data, the bytes are too many, the characters are not.
        progress("x" * 2000, big="é" * 2500)
        for number in range(MOST_PROGRESS + 10):
            progress(f"{number}")

    @app.get("/chatty")
    @inngest.endpoint
    async def chatty() -> str:
        await step.run("talk", talk)
        return "done"

    def count() -> int:
        for number in range(3):
            progress(f"counted {number}")
        return 3

    @app.get("/thread")
    @inngest.endpoint
    async def thread() -> str:
        return str(await step.run("count", count))


def _add_held(app: Quart, inngest: Inngest, outside: Outside) -> None:
    async def search() -> list[str]:
        progress("Comparing prices…", found=2)
        await held(outside, "search")
        progress("Taking the cheapest")
        return ["UA1", "DL2"]

    @app.get("/trip")
    @inngest.endpoint
    async def trip() -> dict[str, Any]:
        flights = await step.run("search", search)
        return {"flights": flights, "paid": await step.run("pay", outside.act, "pay")}

    @app.get("/nap")
    @inngest.endpoint
    async def nap_view() -> str:
        await step.run("before", outside.act, "before")
        await step.sleep("pause", "1h")
        return "awake"

    async def tell_one() -> str:
        progress("One of three")
        return outside.act("one")

    @app.get("/held")
    @inngest.endpoint
    async def held_view() -> list[str]:
        one = await step.run("one", tell_one)
        two = await step.run("two", held, outside, "two")
        return [one, two, await step.run("three", outside.act, "three")]

    @app.get("/between")
    @inngest.endpoint(id="between")
    async def between() -> str:
        await step.run("one", outside.act, "one")
        await held(outside, "plain")
        try:
            return await step.run("charge", outside.act, "charge")
        finally:
            outside.record("left")


def _add_family(app: Quart, inngest: Inngest, outside: Outside) -> None:
    @app.get("/child")
    @inngest.endpoint(id="child")
    async def child() -> dict[str, str]:
        return {"child": await step.run("work", held, outside, "child")}

    @app.get("/parent")
    @inngest.endpoint(id="parent")
    async def parent() -> Any:
        return await step.invoke("call", endpoint="child")

    @app.get("/caller")
    @inngest.endpoint(id="caller")
    async def caller() -> Any:
        return await step.invoke("call", endpoint="between")


async def held(outside: Outside, action: str) -> str:
    """Do *action*, which takes until its gate opens."""
    outside.record(action)
    while not outside.is_open(action):
        await nap(0.002)
    return action
