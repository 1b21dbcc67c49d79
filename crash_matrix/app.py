"""
The application of the matrix, of the framework that `colourless` stands for.

`create_quart_app` and `create_flask_app` take its folder from FOLDER and the pattern under test from PATTERN. With
MIGRATES it is of the next version of the package, with PRUNES it looks for old runs all the time, and with RACES two of
it find the run of the dead together.

    route                        what its handler does
    /<pattern>/<name>            see `patterns`; ?flaky=<step> fails once, ?hold=<step> waits for its gate; pauses take
                                 ?pause= milliseconds
    /child/<name>                step charge
    /bystander/<name>?pause=     steps first, second (takes until its gate opens), third; a pause after the first
"""

from __future__ import annotations

import os
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any

from inngest_durable import EmbeddedEngine, Inngest, NonRetriableError, RetryAfterError, StepError
from inngest_durable.engines.embedded import retention
from inngest_durable.engines.embedded.store import SqliteStore
from quart import Quart

from crash_matrix.newer import NewerDatabase
from crash_matrix.patterns import PATTERNS, Pattern
from crash_matrix.traps import REFUSALS, LateStore, Traps
from testkit import colourless
from testkit.colourless import (
    Response,
    adapter_of,
    endpoint_adapter,
    g,
    parallel,
    request,
    step,
)
from testkit.effects import Effects
from testkit.records import database_of

EVENT_KEY = "key"
PRUNES_SECONDS = 0.1
# Longer than any play: a step that gave up would be tried again.
HELD_SECONDS = 300


def create_quart_app() -> Quart:
    """Return the application on Quart."""
    return _build()[0]


def create_flask_app() -> Quart:
    """Return the application on Flask, whose runs go on at once."""
    return colourless.on_flask(_build)


def _build() -> tuple[Quart, Inngest]:
    folder = Path(os.environ["FOLDER"])
    app, effects = colourless.web().app(__name__), Effects(folder)
    pattern = PATTERNS[os.environ["PATTERN"]]
    Traps(effects, pattern, database_of(folder)).set()
    inngest = Inngest(
        "matrix", adapter_of(endpoint_adapter), _engine(database_of(folder), effects, pattern), event_key=EVENT_KEY
    )
    steps = Steps(effects, pattern.hit, REFUSALS.get(os.environ.get("RACES", ""), ""))
    _add_sequences(app, inngest, steps)
    _add_pauses(app, inngest, steps)
    _add_family(app, inngest, steps)
    _add_saga(app, inngest, steps)
    _add_bystander(app, inngest, steps)
    _add_hook(app, effects)
    inngest.init_app(app)
    return app, inngest


def _engine(database: Path, effects: Effects, pattern: Pattern) -> EmbeddedEngine:
    store = SqliteStore(database)
    if where := os.environ.get("RACES"):
        store = LateStore(database, effects, pattern, where)
    if os.environ.get("MIGRATES"):
        store._database = NewerDatabase(database, effects)
    if os.environ.get("PRUNES"):
        retention.LOOK_SECONDS = PRUNES_SECONDS
    return EmbeddedEngine(database, store=store)


def _add_hook(app: Quart, effects: Effects) -> None:
    @app.after_request
    async def passed(response: Response) -> Response:
        if name := g.get("answered"):
            effects.pass_by(_place(name, "response"))
        return response


def _place(name: str, what: str) -> str:
    """Return what *what* of the request called *name* is called in the ledger."""
    return f"{name}.{what}"


class Steps:
    """
    The steps of all handlers: each has an effect, and some are given trouble by the request.

    Args:
        effects: What they have.
        hit: The step that is hit.
        refusal: What another worker is to be refused while that step is under way, or empty.
    """

    def __init__(self, effects: Effects, hit: str, refusal: str) -> None:
        self._effects = effects
        self._hit = hit
        self._refusal = refusal

    def enter(self, name: str, endpoint: str) -> None:
        """Record that a pass begins."""
        self._effects.pass_by(_place(name, f"enters {endpoint}"))

    def run(self, name: str, step_id: str) -> Awaitable[str]:
        """Run one step, whose result is the token of its effect; to be awaited."""
        self._effects.pass_by(_place(name, f"before {step_id}"))
        holds = request.args.get("hold") == step_id
        pause = request.args.get("pause", 0, type=int) if request.args.get("flaky") == step_id else 0
        return step.run(step_id, self._perform, _place(name, step_id), holds, pause)

    async def fail(self, name: str, step_id: str) -> None:
        """Run a step that fails for good."""
        await step.run(step_id, self._refuse, _place(name, step_id))

    def answer(self, name: str, results: Any, status: int = 200) -> tuple[Any, int]:
        """Return the answer to a request."""
        g.answered = name
        return results, status

    def _perform(self, action: str, holds: bool, pause: int) -> str:
        self._effects.begin(action)
        if holds:
            self._effects.outside.held(f"{action} holds", HELD_SECONDS)
        if self._refusal and action.endswith(f".{self._hit}"):
            self._effects.outside.wait_for(self._refusal)
        if pause and len(self._effects.outside.calls(f"{action} begins")) == 1:
            raise RetryAfterError("not yet", timedelta(milliseconds=pause))
        return self._effects.perform(action)

    def _refuse(self, action: str) -> None:
        self._effects.begin(action)
        raise NonRetriableError("declined")


def _pause() -> timedelta:
    return timedelta(milliseconds=request.args.get("pause", 0, type=int))


def _add_sequences(app: Quart, inngest: Inngest, steps: Steps) -> None:
    @app.get("/sequential/<name>")
    @inngest.endpoint(id="sequential")
    async def sequential(name: str) -> Any:
        steps.enter(name, "sequential")
        return steps.answer(name, {key: await steps.run(name, key) for key in ("one", "two", "three")})

    @app.get("/parallel/<name>")
    @inngest.endpoint(id="parallel")
    async def at_the_same_time(name: str) -> Any:
        steps.enter(name, "parallel")
        one = await steps.run(name, "one")
        left, right = await parallel(lambda: steps.run(name, "left"), lambda: steps.run(name, "right"))
        return steps.answer(name, {"one": one, "left": left, "right": right, "three": await steps.run(name, "three")})


def _add_pauses(app: Quart, inngest: Inngest, steps: Steps) -> None:
    @app.get("/sleep/<name>")
    @inngest.endpoint(id="sleep")
    async def sleep(name: str) -> Any:
        steps.enter(name, "sleep")
        one = await steps.run(name, "one")
        await step.sleep("nap", _pause())
        return steps.answer(name, {"one": one, "two": await steps.run(name, "two")})

    @app.get("/wait/<name>")
    @inngest.endpoint(id="wait")
    async def wait(name: str) -> Any:
        steps.enter(name, "wait")
        one = await steps.run(name, "one")
        event = await step.wait_for_event("approval", event=f"approved-{name}", timeout="1h")
        by = event and event.data["by"]
        return steps.answer(name, {"one": one, "by": by, "two": await steps.run(name, "two")})


def _add_family(app: Quart, inngest: Inngest, steps: Steps) -> None:
    @app.get("/child/<name>")
    @inngest.endpoint(id="child")
    async def child(name: str) -> Any:
        steps.enter(name, "child")
        return {"charge": await steps.run(name, "charge")}

    @app.get("/invoke/<name>")
    @inngest.endpoint(id="invoke")
    async def invoke(name: str) -> Any:
        steps.enter(name, "invoke")
        one = await steps.run(name, "one")
        called = await step.invoke("call", endpoint=child, params={**request.args, "name": name})
        return steps.answer(name, {"one": one, **called, "two": await steps.run(name, "two")})


def _add_saga(app: Quart, inngest: Inngest, steps: Steps) -> None:
    @app.get("/saga/<name>")
    @inngest.endpoint(id="saga")
    async def saga(name: str) -> Any:
        steps.enter(name, "saga")
        one = await steps.run(name, "one")
        try:
            await steps.fail(name, "charge")
        except StepError:
            return steps.answer(name, {"one": one, "refund": await steps.run(name, "refund")}, 409)
        return steps.answer(name, {"one": one})


def _add_bystander(app: Quart, inngest: Inngest, steps: Steps) -> None:
    @app.get("/bystander/<name>")
    @inngest.endpoint(id="bystander")
    async def bystander(name: str) -> Any:
        first = await steps.run(name, "first")
        if request.args.get("pause"):
            await step.sleep("nap", _pause())
        return {"first": first, "second": await steps.run(name, "second"), "third": await steps.run(name, "third")}
