"""Flask's test client, which reads no further than it is asked to, and closes nothing."""

from __future__ import annotations

import time
from pathlib import Path

from flask import Flask
from inngest_durable import EmbeddedEngine, Inngest
from inngest_durable.flask import endpoint_adapter
from inngest_durable.sync import step

from testkit.records import Records, database_of


def test_answer_that_is_not_read_holds_up_no_stop(tmp_path: Path) -> None:
    """A test that looks at the status alone has had the whole answer: its run has ended."""
    app = Flask(__name__)
    inngest = Inngest("shop", endpoint_adapter, EmbeddedEngine(database_of(tmp_path), shutdown_grace="10s"))

    @app.get("/order")
    @inngest.endpoint(id="order")
    def order() -> str:
        return step.run("charge", lambda: "charged")

    inngest.init_app(app)
    with inngest.running():
        answer = app.test_client().get("/order")
        stopping = time.monotonic()
    took = time.monotonic() - stopping

    assert answer.status_code == 200
    assert took < 5
    assert Records(database_of(tmp_path)).wait_for_only_run().status == "completed"
    assert answer.text == "charged"
