"""
A Flask application for processes that are killed, told to stop or forked. Takes its folder from FOLDER.

    route              what its handler does
    /plain             no endpoint
    /book              step one
    /held              step one; step two takes until its gate opens; step three
    /work/<number>     step before-<number>; a pause of 300 ms; step after-<number>
    /asleep            a pause of an hour
    /pid               no endpoint: tells which process answers
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from flask import Flask, request
from inngest_durable import EmbeddedEngine, Inngest, stream
from inngest_durable.flask import endpoint_adapter
from inngest_durable.sync import step

from packages.inngest_durable.tests.adapters.application import QUICK
from testkit.outside import Outside
from testkit.pauses import count_from_disk
from testkit.records import database_of


def create_app() -> Flask:
    """Return the application, for a server process."""
    logging.basicConfig(level=logging.INFO)
    count_from_disk()
    folder = Path(os.environ["FOLDER"])
    app, outside = Flask(__name__), Outside(folder)
    inngest = Inngest("life", endpoint_adapter, EmbeddedEngine(database_of(folder), shutdown_grace="5s"))

    visits = Outside(folder / "visits")

    @app.before_request
    def note_visit() -> None:
        visits.record(request.path)

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    @app.get("/pid")
    def pid() -> str:
        return str(os.getpid())

    @app.get("/book")
    @inngest.endpoint(id="book", retries=QUICK)
    def book() -> str:
        return step.run("one", outside.act, "one")

    @app.get("/held")
    @inngest.endpoint(id="held", retries=QUICK)
    def held() -> list[str]:
        one = step.run("one", outside.act, "one")
        two = step.run("two", outside.held, "two")
        return [one, two, step.run("three", outside.act, "three")]

    @app.get("/work/<int:number>")
    @inngest.endpoint(id="work", retries=QUICK)
    def work(number: int) -> list[str]:
        before = step.run("before", outside.act, f"before-{number}")
        step.sleep("pause", "300ms")
        return [before, step.run("after", outside.act, f"after-{number}")]

    @app.get("/asleep")
    @inngest.endpoint(id="asleep", retries=QUICK)
    def asleep() -> str:
        step.sleep("pause", "1h")
        return "awake"

    inngest.init_app(app)
    return app


def without_heartbeats() -> Flask:
    """Return the application whose streams of events say nothing while nothing happens."""
    stream.HEARTBEAT_SECONDS = 3600.0
    return create_app()


def start_in_master() -> Flask:
    """Return the application after it has served in this process, which is forked later on."""
    app = create_app()
    app.extensions["inngest"].start()
    assert app.test_client().get("/book").status_code == 200
    return app
