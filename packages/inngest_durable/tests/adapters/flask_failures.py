"""Handlers of `application` that fail, on Flask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Flask, abort, request
from flask.typing import ResponseReturnValue
from inngest_durable import Inngest, NonRetriableError, RetryAfterError, StepError
from inngest_durable.sync import step

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.outside import Outside


def add(app: Flask, inngest: Inngest, outside: Outside) -> None:
    """Add the handlers to *app*."""
    _add_exhausted_steps(app, inngest, outside)
    _add_failing_handlers(app, inngest, outside)
    _add_errors_with_a_meaning(app, inngest, outside)


def _add_exhausted_steps(app: Flask, inngest: Inngest, outside: Outside) -> None:
    @app.get("/caught")
    @inngest.endpoint(retries=QUICK)
    def caught() -> ResponseReturnValue:
        try:
            step.run("charge", outside.act, "charge", 1_000)
        except StepError as error:
            released = step.run("release", outside.act, "release")
            return {"error": error.name, "message": error.message, "attempts": error.attempt, "then": released}, 402
        return "charged"

    @app.get("/uncaught")
    @inngest.endpoint(retries=QUICK)
    def uncaught() -> str:
        return step.run("charge", outside.act, "charge", 1_000)

    @app.get("/uncaught-at-once")
    @inngest.endpoint(retries=0)
    def uncaught_at_once() -> str:
        return step.run("charge", outside.act, "charge", 1_000)


def _add_failing_handlers(app: Flask, inngest: Inngest, outside: Outside) -> None:
    @app.get("/handler-fails")
    @inngest.endpoint(retries=QUICK)
    def handler_fails() -> str:
        step.run("reserve", outside.act, "reserve")
        outside.act("handler", request.args.get("times", 0, type=int))
        return step.run("confirm", outside.act, "confirm")

    @app.get("/fails-early")
    @inngest.endpoint(retries=QUICK)
    def fails_early() -> str:
        return outside.act("handler", 1_000)

    @app.get("/breaks")
    @inngest.endpoint(retries=QUICK)
    def breaks() -> str:
        step.run("reserve", outside.act, "reserve")
        raise ZeroDivisionError(str(outside.record("handler")))

    @app.get("/breaks-at-once")
    @inngest.endpoint(retries=0)
    def breaks_at_once() -> str:
        step.run("reserve", outside.act, "reserve")
        raise ZeroDivisionError(str(outside.record("handler")))

    @app.get("/missing")
    @inngest.endpoint(retries=QUICK)
    def missing() -> str:
        if "steps" in request.args:
            step.run("reserve", outside.act, "reserve")
        outside.record("handler")
        abort(404, "no such trip")


def _add_errors_with_a_meaning(app: Flask, inngest: Inngest, outside: Outside) -> None:
    @app.get("/missing-in-step")
    @inngest.endpoint(retries=QUICK)
    def missing_in_step() -> ResponseReturnValue:
        try:
            step.run("look-up", look_up)
        except StepError as error:
            return {"error": error.name, "attempts": error.attempt}, 409
        return "found"

    def look_up() -> None:
        outside.record("look-up")
        abort(404)

    @app.get("/non-retriable")
    @inngest.endpoint(retries=QUICK)
    def non_retriable() -> ResponseReturnValue:
        try:
            step.run("charge", declined)
        except StepError as error:
            return {"error": error.name, "attempts": error.attempt}, 402
        return "charged"

    def declined() -> None:
        outside.record("charge")
        raise NonRetriableError("card declined")

    @app.get("/retry-after")
    @inngest.endpoint(retries=QUICK)
    def retry_after() -> str:
        return step.run("charge", limited, request.args.get("ms", 0, type=int))

    def limited(milliseconds: int) -> str:
        if outside.record("charge", at=datetime.now(UTC).timestamp()) == 1:
            raise RetryAfterError("too many", timedelta(milliseconds=milliseconds))
        return "charged"
