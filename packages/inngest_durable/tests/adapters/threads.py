"""One durable `def` handler in a Flask application, driven by its test client: for tests of steps in threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask
from inngest_durable import EmbeddedEngine, Inngest
from inngest_durable.flask import endpoint_adapter
from werkzeug.test import TestResponse

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.site import RUN_ID
from testkit.outside import Outside
from testkit.records import Records, database_of

Handler = Callable[[], Any]


class Threads:
    """
    An application with *handler* as its endpoint ``/``.

    Args:
        folder: Where it keeps its database and its outside world.
        handler: Makes the handler from the outside world.
        **options: Options of the endpoint.
    """

    def __init__(self, folder: Path, make: Callable[[Outside], Handler], **options: Any) -> None:
        self.outside = Outside(folder)
        self.records = Records(database_of(folder))
        self.app = Flask("threads")
        self.inngest = Inngest(
            "threads",
            endpoint_adapter.with_options(held_waits=32),
            EmbeddedEngine(database_of(folder), shutdown_grace="5s"),
        )
        view = self.inngest.endpoint(id="handler", **{"retries": QUICK, **options})(make(self.outside))
        self.app.route("/", methods=["GET", "POST"])(view)
        self.inngest.init_app(self.app)

    def get(self, path: str = "/", **options: Any) -> TestResponse:
        """GET *path* without following a redirect."""
        # Buffered: else the response is sent only when the test reads it.
        return self.app.test_client().get(path, buffered=True, **options)

    def answer(self, path: str = "/", **options: Any) -> TestResponse:
        """GET *path*, and go where redirects lead, up to the answer."""
        response = self.get(path, **options)
        while response.status_code == 303:
            response = self.get(response.headers["location"])
        return response

    def steps(self, response: TestResponse) -> dict[str, str]:
        """Return the state of each step of the run that *response* belongs to."""
        return {key: step.state for key, step in self.records.steps(response.headers[RUN_ID]).items()}

    def close(self) -> None:
        """Let go of whatever is held, and stop the engine."""
        self.outside.open("*")
        self.inngest.stop()
