"""
The application of the engine's tests, for Quart and Flask, in a thread or in a process of its own.

Each pass of a handler is recorded as ``pass <endpoint>``. Steps of an action are `Outside.act`; a failed one is tried
again after a minute, twice: with a virtual clock, only when the test says so.

    route                 what its handler does
    /book?fail=           steps reserve, charge (fails as often), confirm
    /held?fail=           step one (fails as often), step two (takes until its gate opens), step three
    /wide?n=              n steps at the same time, then step join
    /either               waits for the events "a" and "b" at the same time, then step join
    /sleep                step before, a pause of a minute, step after
    /parent               invokes /sleep
    /impatient            the same, and waits for half a minute; answers the error
    /top                  invokes /parent
    /below/<path>         as /sleep
    /tardy                waits until the gate "start" opens; then step one, step two (takes until its gate opens)
    /emits                step before, then step tell sends an event of a name that the server keeps for itself
    /echo                 step note (fails once); answers what it saw of the request
    /answer               step flaky (fails once); answers 207, two cookies and bytes that are no text
    /json                 step flaky (fails once); answers an object, 201 and a header of its own
    /uncaught?fail=       one retry: step charge (fails as often, 99 if not said); its error leaves the handler
    /at-once, /caught-at-once
                          step charge fails for good at its first attempt; the second one answers 402
    /breaks?fail=         one retry: step reserve; then the handler itself raises as often
    /late?fail=           step charge asks for another attempt after 100 s, as often
    /deadline             within five minutes: step before, a pause of an hour
    /dies                 step one; step die: kills its process, each time
    /dies-once            step one; step die: kills its process, the first time; step two
    /plain                no endpoint
    /wait                 `endpoint_proxy()`
"""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from inngest_durable import Event, Inngest, NonRetriableError, RetryAfterError, RetryPolicy, StepError
from inngest_durable.engines.base import TimerHandle
from inngest_durable.engines.clock import SystemClock
from inngest_durable.engines.inngest.engine import InngestEngine
from quart.typing import ResponseReturnValue

from testkit import colourless
from testkit.colourless import (
    Response,
    get_data,
    nap,
    parallel,
    request,
    step,
    web,
)
from testkit.outside import Outside

TWICE = RetryPolicy(max_retries=2, initial="1m", factor=1, jitter=False)
ONCE = RetryPolicy(max_retries=1, initial="1m", factor=1, jitter=False)
BINARY = bytes(range(256)) * 4


class Rows:
    """
    The handlers, over the outside world in *folder*.

    Args:
        waits_at: Where redirected clients wait, as a route of the application; empty for where the engine says.
    """

    def __init__(self, folder: Path, engine: InngestEngine, waits_at: str = "") -> None:
        self.outside = Outside(folder)
        adapter = web().adapter.with_options(async_redirect_url=waits_at) if waits_at else web().adapter
        self.inngest = Inngest("rows", adapter, engine)
        self.app = web().app("rows")
        for handler in (self.book, self.held, self.wide, self.either, self.sleep, self.echo, self.answer, self.json):
            self._add(handler, TWICE)
        for handler in (
            self.parent,
            self.impatient,
            self.top,
            self.tardy,
            self.emits,
            self.at_once,
            self.caught_at_once,
            self.uncaught,
            self.breaks,
            self.late,
            self.dies,
            self.dies_once,
        ):
            self._add(handler, ONCE)
        self._add(self.deadline, TWICE, "5m")
        self._add(self.below, ONCE, rule="/below/<path:rest>")
        self.app.add_url_rule("/wait", "wait", self.inngest.endpoint_proxy(), methods=["GET", "OPTIONS"])
        self.app.add_url_rule("/plain", "plain", lambda: "plain")
        self.inngest.init_app(self.app)

    def _add(self, handler: Any, retries: RetryPolicy, timeout: str | None = None, rule: str = "") -> None:
        name = handler.__name__.replace("_", "-")
        view = self.inngest.endpoint(id=name, retries=retries, timeout=timeout)(handler)
        self.app.add_url_rule(rule or f"/{name}", name, view, methods=["GET", "POST", "PUT"])

    def _enter(self, name: str) -> int:
        self.outside.record(f"pass {name}", method=request.method)
        return request.args.get("fail", 0, type=int)

    async def book(self) -> ResponseReturnValue:
        fail = self._enter("book")
        held = await step.run("reserve", self.outside.act, "reserve")
        charge = await step.run("charge", self.outside.act, "charge", fail)
        return {"steps": [held, charge, await step.run("confirm", self.outside.act, "confirm")]}

    async def held(self) -> ResponseReturnValue:
        fail = self._enter("held")
        one = await step.run("one", self.outside.act, "one", fail)
        two = await step.run("two", self.outside.held, "two")
        return {"steps": [one, two, await step.run("three", self.outside.act, "three")]}

    async def wide(self) -> ResponseReturnValue:
        fail, n = self._enter("wide"), request.args.get("n", 10, type=int)
        found = await parallel(*(lambda i=i: step.run(f"b{i}", self.outside.act, f"b{i}", fail) for i in range(n)))
        return {"found": found, "join": await step.run("join", self.outside.act, "join")}

    async def either(self) -> ResponseReturnValue:
        self._enter("either")
        found = await parallel(
            lambda: step.wait_for_event("first", event="a", timeout="1h"),
            lambda: step.wait_for_event("second", event="b", timeout="2h"),
        )
        join = await step.run("join", self.outside.act, "join")
        return {"found": [None if event is None else event.data for event in found], "join": join}

    async def sleep(self) -> ResponseReturnValue:
        self._enter("sleep")
        before = await step.run("before", self.outside.act, "before")
        await step.sleep("nap", "1m")
        return {"steps": [before, await step.run("after", self.outside.act, "after")]}

    async def parent(self) -> ResponseReturnValue:
        self._enter("parent")
        return {"child": await step.invoke("child", endpoint="sleep")}

    async def impatient(self) -> ResponseReturnValue:
        self._enter("impatient")
        try:
            return {"child": await step.invoke("child", endpoint="sleep", timeout="30s")}
        except StepError as error:
            await step.sleep("replay", "1s")
            return {"error": error.name, "child": error.child_run_id}

    async def top(self) -> ResponseReturnValue:
        self._enter("top")
        return {"child": await step.invoke("child", endpoint="parent")}

    async def below(self, rest: str) -> ResponseReturnValue:
        self._enter("below")
        before = await step.run("before", self.outside.act, "before")
        await step.sleep("nap", "1m")
        return {"rest": rest, "steps": [before, await step.run("after", self.outside.act, "after")]}

    async def tardy(self) -> ResponseReturnValue:
        self._enter("tardy")
        while not self.outside.is_open("start"):
            await nap(0.005)
        one = await step.run("one", self.outside.act, "one")
        return {"steps": [one, await step.run("two", self.outside.held, "two")]}

    async def emits(self) -> ResponseReturnValue:
        self._enter("emits")
        await step.run("before", self.outside.act, "before")
        return {"ids": await step.send_event("tell", Event("inngest/foo"))}

    async def echo(self) -> ResponseReturnValue:
        self._enter("echo")
        await step.run("note", self.outside.act, "note", 1)
        return {
            "method": request.method,
            "query": request.query_string.decode(),
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": base64.b64encode(await get_data()).decode(),
        }

    async def answer(self) -> ResponseReturnValue:
        self._enter("answer")
        await step.run("flaky", self.outside.act, "flaky", 1)
        response = Response(BINARY, 207, content_type="application/octet-stream")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2", httponly=True)
        return response

    async def json(self) -> ResponseReturnValue:
        self._enter("json")
        await step.run("flaky", self.outside.act, "flaky", 1)
        return {"text": 'a "quoted" ü'}, 201, {"X-Ticket": "yes"}

    async def uncaught(self) -> ResponseReturnValue:
        fail = self._enter("uncaught") or 99
        return {"charge": await step.run("charge", self.outside.act, "charge", fail)}

    async def at_once(self) -> ResponseReturnValue:
        self._enter("at-once")
        return {"charge": await step.run("charge", self._fail_for_good)}

    async def caught_at_once(self) -> ResponseReturnValue:
        self._enter("caught-at-once")
        try:
            return {"charge": await step.run("charge", self._fail_for_good)}
        except StepError as error:
            return {"error": error.name}, 402

    def _fail_for_good(self) -> str:
        self.outside.record("charge")
        raise NonRetriableError("never")

    async def breaks(self) -> ResponseReturnValue:
        fail = self._enter("breaks")
        await step.run("reserve", self.outside.act, "reserve")
        return {"body": self.outside.act("body", fail)}

    async def late(self) -> ResponseReturnValue:
        fail = self._enter("late")
        return {"charge": await step.run("charge", self._ask_for_later, fail)}

    def _ask_for_later(self, fail: int) -> str:
        number = self.outside.record("charge")
        if number <= fail:
            raise RetryAfterError("not yet", timedelta(seconds=100))
        return f"charge#{number}"

    async def deadline(self) -> ResponseReturnValue:
        self._enter("deadline")
        await step.run("before", self.outside.act, "before")
        await step.sleep("nap", "1h")
        return {}

    async def dies(self) -> ResponseReturnValue:
        self._enter("dies")
        one = await step.run("one", self.outside.act, "one")
        return {"steps": [one, await step.run("die", self._die, 99)]}

    async def dies_once(self) -> ResponseReturnValue:
        self._enter("dies-once")
        one = await step.run("one", self.outside.act, "one")
        die = await step.run("die", self._die, 1)
        return {"steps": [one, die, await step.run("two", self.outside.act, "two")]}

    def _die(self, times: int) -> str:
        number = self.outside.record("die")
        if number <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"die#{number}"


class LaterClock(SystemClock):
    """The machine's clock, ahead by so many seconds."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def now(self) -> float:
        return super().now() + self._ahead

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        return super().call_at(when - self._ahead, callback)


def create_app() -> Any:
    """Return the application for a server process: FOLDER, the engine's OPTIONS, and the seconds its clock is AHEAD."""
    colourless.choose(os.environ.get("WEB", "quart"))
    options = json.loads(os.environ["OPTIONS"])
    engine = InngestEngine(**options, clock=LaterClock(float(os.environ["AHEAD"])))
    return Rows(Path(os.environ["FOLDER"]), engine).app
