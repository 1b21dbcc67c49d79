"""The stream of run events from a Flask application: the same events, sent by a thread of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inngest_durable import progress
from inngest_durable.sync import step

from packages.inngest_durable.tests.adapters.flask_app import small_app

ACCEPT = {"Accept": "text/event-stream"}


def kinds(text: str) -> list[str]:
    return [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]


def test_events_of_a_run_are_followed_to_its_end(tmp_path: Path) -> None:
    app, inngest, _ = small_app(tmp_path)

    def compare() -> int:
        progress("Comparing prices…")
        return 3

    @app.get("/trip")
    @inngest.endpoint
    def trip() -> Any:
        step.run("compare", compare)
        step.sleep("think", "50ms")
        return {"done": True}

    inngest.init_app(app)
    with inngest.running():
        client = app.test_client()
        wait_url = client.get("/trip").headers["location"]
        stream = client.get(wait_url, headers=ACCEPT)
        told = kinds(stream.get_data(as_text=True))

        assert stream.mimetype == "text/event-stream"
        assert told[0] == "run.started"
        assert [kind for kind in told if kind.startswith("step.")] == [
            *("step.started", "step.progress", "step.completed"),
            *("step.waiting", "step.completed"),
        ]
        assert told[-2:] == ["run.completed", "result"]
        assert client.get(wait_url, headers={**ACCEPT, "Last-Event-ID": "end"}).status_code == 204
