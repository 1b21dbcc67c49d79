"""
The application of the conformance scenarios, written once for Quart and Flask, and for any engine.

    route                 what its handler does
    /book?fail=           steps reserve, charge (fails as often), confirm; 201, a header, their results as JSON
    /caught?at-once=      step charge always fails, with retries or without; step release; 402
    /uncaught             step charge always fails; the error leaves the handler
    /parallel?fail=       steps flight, hotel (fails as often), car at the same time, step confirm
    /sleep?pause=         step before, a pause, step after
    /approval?k=&timeout= step ask; waits for the event "conformance/approved" whose data.k is k; step done
    /paid?k=&timeout=     waits for the signal "paid-<k>"
    /both?k=              waits for that event; at the same time step flaky, which fails once
    /parent?fail=         invokes /child, which sleeps; its child's step fails as often
    /abandoned            invokes /doomed, which notes its run's ID and sleeps for an hour
    /tell?k=              step send: sends the event that /approval?k= waits for
    /fetched              fetches /plain, a route that is not durable
    /echo                 step note (fails once); answers what it saw of the request at the last pass
    /cookies, /binary     step flaky (fails once); answers two cookies, or bytes that are no text
    /nothing              no step
    /wait                 `endpoint_proxy()`
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
from inngest_durable import Event, Inngest, NonRetriableError, RetryPolicy, SignalTakenError, StepError
from quart.typing import ResponseReturnValue

from packages.inngest_durable.tests.adapters.application import Application
from testkit.colourless import (
    Response,
    get_data,
    parallel,
    request,
    step,
    web,
)
from testkit.outside import Outside

# The pauses are long enough for the client to be redirected, whatever the engine.
QUICK = RetryPolicy(max_retries=2, initial="1500ms", factor=0.1, jitter=False)
WAIT_PATH = "/wait"
BINARY = bytes(range(256)) * 4
APPROVED = "conformance/approved"


class Conformance:
    """
    The handlers, over the outside world in *folder* and the *engine* that a test chose.

    Args:
        waits_at: Where redirected clients wait, as a route of the application; empty for where the engine says.
    """

    def __init__(self, folder: Path, engine: Any, waits_at: str = "") -> None:
        self.outside = Outside(folder)
        adapter = web().adapter.with_options(async_redirect_url=waits_at) if waits_at else web().adapter
        self.inngest = Inngest("conformance", adapter, engine)
        self.app = web().app("conformance")
        handlers = (
            *(self.book, self.caught, self.uncaught, self.parallel, self.sleep, self.approval, self.paid, self.parent),
            *(self.both, self.child, self.abandoned, self.doomed, self.tell, self.fetched, self.echo, self.cookies),
            *(self.binary, self.nothing),
        )
        for handler in handlers:
            name = handler.__name__
            view = self.inngest.endpoint(id=name, retries=QUICK)(handler)
            self.app.add_url_rule(f"/{name}", name, view, methods=["GET", "POST", "PUT"])
        self.app.add_url_rule(WAIT_PATH, view_func=self.inngest.endpoint_proxy(), methods=["GET", "OPTIONS"])
        self.app.add_url_rule("/plain", "plain", lambda: {"seats": 3})
        self.inngest.init_app(self.app)

    @property
    def application(self) -> Application:
        """The framework's object, and its client."""
        return Application(self.app, self.inngest)

    def _act(self, action: str, fail: int = 0) -> str:
        return self.outside.act(action, fail)

    async def book(self) -> ResponseReturnValue:
        held = await step.run("reserve", self._act, "reserve")
        charge = await step.run("charge", self._act, "charge", request.args.get("fail", 0, type=int))
        ticket = await step.run("confirm", self._act, "confirm")
        return {"steps": [held, charge, ticket]}, 201, {"X-Ticket": "yes"}

    async def caught(self) -> ResponseReturnValue:
        try:
            await step.run("charge", self._act, "charge", 99)
        except StepError as error:
            await step.run("release", self._act, "release")
            return {"error": error.name, "step": error.step_id}, 402
        return {}

    async def uncaught(self) -> ResponseReturnValue:
        await step.run("charge", self._act, "charge", 99)
        return {}

    async def parallel(self) -> ResponseReturnValue:
        fail = request.args.get("fail", 0, type=int)
        found = await parallel(
            lambda: step.run("flight", self._act, "flight"),
            lambda: step.run("hotel", self._act, "hotel", fail),
            lambda: step.run("car", self._act, "car"),
        )
        return {"found": found, "then": await step.run("confirm", self._act, "confirm")}

    async def sleep(self) -> ResponseReturnValue:
        before = await step.run("before", self._act, "before")
        await step.sleep("nap", request.args.get("pause", "1s"))
        return {"steps": [before, await step.run("after", self._act, "after")]}

    async def approval(self) -> ResponseReturnValue:
        await step.run("ask", self._act, "ask")
        match = {"data.k": request.args["k"]}
        event = await step.wait_for_event("answer", event=APPROVED, match=match, timeout=request.args["timeout"])
        await step.run("done", self._act, "done")
        return {"data": None if event is None else event.data}

    async def paid(self) -> ResponseReturnValue:
        name = f"paid-{request.args['k']}"
        try:
            signal = await step.wait_for_signal("paid", signal=name, timeout=request.args["timeout"])
        except SignalTakenError:
            return {"taken": name}, 409
        return {"signal": msgspec.to_builtins(signal)}

    async def both(self) -> ResponseReturnValue:
        match = {"data.k": request.args["k"]}
        event, flaky = await parallel(
            lambda: step.wait_for_event("answer", event=APPROVED, match=match, timeout="1m"),
            lambda: step.run("flaky", self._act, "flaky", 1),
        )
        return {"event": event is not None, "flaky": flaky}

    async def parent(self) -> ResponseReturnValue:
        fail = request.args.get("fail", "0")
        try:
            found = await step.invoke("child", endpoint="child", params={"fail": fail}, timeout="1m")
        except StepError as error:
            return {"failed": error.step_id}, 502
        return {"child": found, "then": await step.run("after", self._act, "after")}

    async def child(self) -> ResponseReturnValue:
        await step.run("work", self._act, "work", request.args.get("fail", 0, type=int))
        await step.sleep("nap", "300ms")
        return {"worked": await step.run("end", self._act, "end")}

    async def abandoned(self) -> ResponseReturnValue:
        try:
            return {"child": await step.invoke("child", endpoint="doomed", timeout="1m")}
        except StepError as error:
            return {"failed": error.step_id, "child": error.child_run_id, "message": error.message}, 502

    async def doomed(self) -> ResponseReturnValue:
        try:
            await step.run("refuse", self._refuse)
        except StepError as error:
            self.outside.record("doomed", run_id=error.run_id)
        await step.sleep("nap", "1h")
        return {}

    def _refuse(self) -> None:
        raise NonRetriableError("no")

    async def tell(self) -> ResponseReturnValue:
        sent = await step.send_event("send", Event(APPROVED, {"k": request.args["k"], "n": 1}))
        return {"sent": len(sent)}

    async def fetched(self) -> ResponseReturnValue:
        answer = await step.fetch("seats", request.host_url.rstrip("/") + "/plain")
        await step.sleep("nap", "300ms")
        return {"status": answer.status, "seats": answer.json()["seats"]}

    async def echo(self) -> ResponseReturnValue:
        await step.run("note", self._act, "note", 1)
        body = await get_data()
        return {
            "method": request.method,
            "query": request.query_string.decode(),
            "header": request.headers.get("X-Mine"),
            "type": request.headers.get("Content-Type"),
            "cookie": request.cookies.get("who"),
            "body": base64.b64encode(body).decode(),
        }

    async def cookies(self) -> ResponseReturnValue:
        await step.run("flaky", self._act, "flaky", 1)
        response = Response("two", 200)
        response.set_cookie("a", "1")
        response.set_cookie("b", "2", httponly=True)
        return response

    async def binary(self) -> ResponseReturnValue:
        await step.run("flaky", self._act, "flaky", 1)
        return Response(BINARY, 200, content_type="application/octet-stream")

    async def nothing(self) -> ResponseReturnValue:
        return {"nothing": True}, 203
