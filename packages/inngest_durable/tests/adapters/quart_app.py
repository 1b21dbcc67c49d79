"""The application of `application`, on Quart. For servers in processes, `create_app` takes its folder from FOLDER."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from inngest_durable import Inngest, StepError
from inngest_durable.quart import current_pass, endpoint_adapter
from quart import Blueprint, Quart, Response, g, jsonify, request
from quart.typing import ResponseReturnValue

from packages.inngest_durable.tests.adapters import bookings, failures, quart_answers
from packages.inngest_durable.tests.adapters.application import Application, make_client
from testkit.outside import OutageError, Outside
from testkit.pauses import count_from_disk


def create_app() -> Quart:
    """Return the application, for a server process."""
    logging.basicConfig(level=logging.INFO)
    count_from_disk()
    app: Quart = build(Path(os.environ["FOLDER"])).app
    return app


def build(folder: Path) -> Application:
    """Return the application on the database and the outside world in *folder*."""
    app = Quart(__name__)
    app.secret_key = "not so secret"
    outside = Outside(folder)
    inngest = make_client(endpoint_adapter, folder)

    _add_hooks(app, outside, folder)
    bookings.add(app, inngest, outside, Blueprint("shop", __name__))
    failures.add(app, inngest, outside)
    quart_answers.add(app, inngest, outside)
    inngest.init_app(app)
    return Application(app, inngest)


def small_app(folder: Path) -> tuple[Quart, Inngest, Outside]:
    """Return an application without endpoints, and not yet connected, for a test that adds its own."""
    return Quart(__name__), make_client(endpoint_adapter, folder), Outside(folder)


def _add_hooks(app: Quart, outside: Outside, folder: Path) -> None:
    visits = Outside(folder / "visits")

    @app.before_request
    async def note_visit() -> None:
        g.user = request.headers.get("x-user", "nobody")
        if current_pass() == "first":
            g.mark = "left by the first pass"
        visits.record(request.path)

    @app.before_request
    async def refuse() -> ResponseReturnValue | None:
        if request.path != "/guarded" or outside.record("guard") == 1:
            return None
        if len(outside.calls("guard")) <= 1 + request.args.get("times", 0, type=int):
            return jsonify(error="who are you?"), 401, {"WWW-Authenticate": "Basic"}
        return None

    @app.after_request
    async def count(response: Response) -> Response:
        seen = len(response.headers.getlist("X-Hook"))
        response.headers.add("X-Hook", str(seen + 1))
        if request.path == "/kinds/broken-hook":
            raise OutageError("the hook is broken")
        return response

    @app.errorhandler(StepError)
    async def show_step_error(error: StepError) -> ResponseReturnValue:
        return jsonify(step=error.step_id, error=error.name), 502

    @app.errorhandler(OutageError)
    async def show_outage(error: OutageError) -> ResponseReturnValue:
        return jsonify(outage=str(error)), 503
