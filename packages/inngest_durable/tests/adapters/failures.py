"""Handlers of `application` that fail, on each framework."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from inngest_durable import Inngest, NonRetriableError, RetryAfterError, StepError
from quart import Quart
from quart.typing import ResponseReturnValue

from packages.inngest_durable.tests.adapters.application import QUICK
from testkit.colourless import abort, request, step
from testkit.outside import Outside


def add(app: Quart, inngest: Inngest, outside: Outside) -> None:
    """Add the handlers to *app*."""
    _add_exhausted_steps(app, inngest, outside)
    _add_failing_handlers(app, inngest, outside)
    _add_errors_with_a_meaning(app, inngest, outside)


def _add_exhausted_steps(app: Quart, inngest: Inngest, outside: Outside) -> None:
    @app.get("/caught")
    @inngest.endpoint(retries=QUICK)
    async def caught() -> ResponseReturnValue:
        try:
            await step.run("charge", outside.act, "charge", 1_000)
        except StepError as error:
            released = await step.run("release", outside.act, "release")
            return {"error": error.name, "message": error.message, "attempts": error.attempt, "then": released}, 402
        return "charged"

    @app.get("/uncaught")
    @inngest.endpoint(retries=QUICK)
    async def uncaught() -> str:
        return await step.run("charge", outside.act, "charge", 1_000)

    @app.get("/uncaught-at-once")
    @inngest.endpoint(retries=0)
    async def uncaught_at_once() -> str:
        return await step.run("charge", outside.act, "charge", 1_000)


def _add_failing_handlers(app: Quart, inngest: Inngest, outside: Outside) -> None:
    @app.get("/handler-fails")
    @inngest.endpoint(retries=QUICK)
    async def handler_fails() -> str:
        await step.run("reserve", outside.act, "reserve")
        outside.act("handler", request.args.get("times", 0, type=int))
        return await step.run("confirm", outside.act, "confirm")

    @app.get("/fails-early")
    @inngest.endpoint(retries=QUICK)
    async def fails_early() -> str:
        return outside.act("handler", 1_000)

    @app.get("/breaks")
    @inngest.endpoint(retries=QUICK)
    async def breaks() -> str:
        await step.run("reserve", outside.act, "reserve")
        raise ZeroDivisionError(str(outside.record("handler")))

    @app.get("/breaks-at-once")
    @inngest.endpoint(retries=0)
    async def breaks_at_once() -> str:
        await step.run("reserve", outside.act, "reserve")
        raise ZeroDivisionError(str(outside.record("handler")))

    @app.get("/missing")
    @inngest.endpoint(retries=QUICK)
    async def missing() -> str:
        if "steps" in request.args:
            await step.run("reserve", outside.act, "reserve")
        outside.record("handler")
        abort(404, "no such trip")


def _add_errors_with_a_meaning(app: Quart, inngest: Inngest, outside: Outside) -> None:
    @app.get("/missing-in-step")
    @inngest.endpoint(retries=QUICK)
    async def missing_in_step() -> ResponseReturnValue:
        try:
            await step.run("look-up", look_up)
        except StepError as error:
            return {"error": error.name, "attempts": error.attempt}, 409
        return "found"

    def look_up() -> None:
        outside.record("look-up")
        abort(404)

    @app.get("/non-retriable")
    @inngest.endpoint(retries=QUICK)
    async def non_retriable() -> ResponseReturnValue:
        try:
            await step.run("charge", declined)
        except StepError as error:
            return {"error": error.name, "attempts": error.attempt}, 402
        return "charged"

    def declined() -> None:
        outside.record("charge")
        raise NonRetriableError("card declined")

    @app.get("/retry-after")
    @inngest.endpoint(retries=QUICK)
    async def retry_after() -> str:
        return await step.run("charge", limited, request.args.get("ms", 0, type=int))

    def limited(milliseconds: int) -> str:
        if outside.record("charge", at=datetime.now(UTC).timestamp()) == 1:
            raise RetryAfterError("too many", timedelta(milliseconds=milliseconds))
        return "charged"
