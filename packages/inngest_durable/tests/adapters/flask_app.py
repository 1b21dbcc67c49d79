"""The application of `application`, on Flask. For servers in processes, `create_app` takes its folder from FOLDER."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from inngest_durable import Inngest, StepError
from inngest_durable.flask import current_pass, endpoint_adapter

from packages.inngest_durable.tests.adapters import bookings, failures, flask_answers
from packages.inngest_durable.tests.adapters.application import Application, make_client
from testkit.colourless import DrivenAdapter, DrivenFlask
from testkit.outside import OutageError, Outside
from testkit.pauses import count_from_disk


def create_app() -> Flask:
    """Return the application, for a server process."""
    logging.basicConfig(level=logging.INFO)
    count_from_disk()
    app: Flask = build(Path(os.environ["FOLDER"])).app
    return app


def build(folder: Path) -> Application:
    """Return the application on the database and the outside world in *folder*."""
    app = DrivenFlask(__name__)
    app.secret_key = "not so secret"
    outside = Outside(folder)
    inngest = make_client(DrivenAdapter().with_options(), folder)

    _add_hooks(app, outside, folder)
    # Written as for Quart, and checked as such.
    as_quart: Any = app
    shop: Any = Blueprint("shop", __name__)
    bookings.add(as_quart, inngest, outside, shop)
    failures.add(as_quart, inngest, outside)
    flask_answers.add(app, inngest, outside)
    inngest.init_app(app)
    return Application(app, inngest)


def small_app(folder: Path) -> tuple[Flask, Inngest, Outside]:
    """Return an application without endpoints, and not yet connected, for a test that adds its own."""
    return Flask(__name__), make_client(endpoint_adapter, folder), Outside(folder)


def _add_hooks(app: Flask, outside: Outside, folder: Path) -> None:
    visits = Outside(folder / "visits")

    @app.before_request
    def note_visit() -> None:
        g.user = request.headers.get("x-user", "nobody")
        if current_pass() == "first":
            g.mark = "left by the first pass"
        visits.record(request.path)

    @app.before_request
    def refuse() -> ResponseReturnValue | None:
        if request.path != "/guarded" or outside.record("guard") == 1:
            return None
        if len(outside.calls("guard")) <= 1 + request.args.get("times", 0, type=int):
            return jsonify(error="who are you?"), 401, {"WWW-Authenticate": "Basic"}
        return None

    @app.after_request
    def count(response: Response) -> Response:
        seen = len(response.headers.getlist("X-Hook"))
        response.headers.add("X-Hook", str(seen + 1))
        if request.path == "/kinds/broken-hook":
            raise OutageError("the hook is broken")
        return response

    @app.errorhandler(StepError)
    def show_step_error(error: StepError) -> ResponseReturnValue:
        return jsonify(step=error.step_id, error=error.name), 502

    @app.errorhandler(OutageError)
    def show_outage(error: OutageError) -> ResponseReturnValue:
        return jsonify(outage=str(error)), 503
