"""Runs of a Flask application that wait for the world: the same steps without await, and no thread held meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from inngest_durable import EmbeddedEngine, Event, EventError, Inngest, NonRetriableError, SignalTakenError, StepError
from inngest_durable.flask import endpoint_adapter
from inngest_durable.sync import step

from packages.inngest_durable.tests.adapters.application import database_of

EVENT_KEY = "key-1"
APPROVED = "trip/approved"


class Office:
    """An application and its client."""

    def __init__(self, folder: Path) -> None:
        self.app = Flask("office")
        self.inngest = Inngest("office", endpoint_adapter, EmbeddedEngine(database_of(folder)), event_key=EVENT_KEY)
        add_waits(self.app, self.inngest)
        add_senders(self.app, self.inngest)
        add_family(self.app, self.inngest)
        self.inngest.init_app(self.app)
        self.client = self.app.test_client()

    def parked(self, path: str) -> str:
        """Send a request whose run comes to wait; return the URL where to wait for its answer."""
        answer = self.client.get(path)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def answer(self, path: str) -> Any:
        """Return the JSON that a request is answered with at once."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json

    def end(self, location: str) -> Any:
        """Return the JSON that a run answers in the end."""
        deadline = time.monotonic() + 20
        answer = self.client.get(location)
        while answer.status_code in (202, 303):
            assert time.monotonic() < deadline
            answer = self.client.get(answer.headers.get("location") or location)
        return answer.json

    def post(self, event: Any, key: str = EVENT_KEY) -> int:
        """Send an event over HTTP."""
        return self.client.post(f"/_inngest/e/{key}", json=event).status_code


def add_waits(app: Flask, inngest: Inngest) -> None:
    """Add endpoints that wait."""

    @app.get("/approval")
    @inngest.endpoint(id="approval")
    def approval() -> dict[str, Any]:
        timeout = request.args.get("timeout", "1h")
        event = step.wait_for_event("approval", event=APPROVED, match="data.trip", timeout=timeout, since="run")
        return {"by": event and event.data["by"]}

    @app.get("/wrong")
    @inngest.endpoint(id="wrong")
    def wrong() -> dict[str, Any]:
        try:
            step.wait_for_event("approval", event=APPROVED, match="data.no", timeout="1h")
        except EventError as error:
            return {"error": str(error)}
        return {}

    @app.get("/signal")
    @inngest.endpoint(id="signal")
    def signal() -> dict[str, Any]:
        try:
            found = step.wait_for_signal("signal", signal="go", timeout="1h")
        except SignalTakenError as error:
            return {"taken": str(error)}
        return {"data": found and found.data}


def add_senders(app: Flask, inngest: Inngest) -> None:
    """Add an endpoint that sends."""

    @app.get("/sender")
    @inngest.endpoint(id="sender")
    def sender() -> list[Any]:
        ids = step.send_event("tell", Event(APPROVED, {"trip": "7", "by": "Ann"}))
        return [ids, step.send_signal("go", "go", 5), step.send_signal("again", "go")]


def add_family(app: Flask, inngest: Inngest) -> None:
    """Add an endpoint that calls another."""

    @app.route("/charge/<card>", methods=["GET", "POST"])
    @inngest.endpoint(id="charge")
    def charge(card: str) -> dict[str, Any]:
        step.sleep("settle", "10ms")
        if card == "declined":
            raise NonRetriableError("declined")
        return {"card": card, "query": request.args.to_dict(), "body": request.get_json(silent=True)}

    @app.get("/order/<card>")
    @inngest.endpoint(id="order")
    def order(card: str) -> Any:
        try:
            return [
                step.invoke("get", endpoint=charge, params={"card": card, "x": "1 & 2"}),
                step.invoke("post", endpoint="charge", params={"card": card}, json=[1]),
            ]
        except StepError as error:
            return {"error": error.message, "child": error.child_run_id}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Run the application."""
    office = Office(tmp_path)
    with office.inngest.running():
        yield office


def test_event_over_http_wakes_the_run_that_waits_for_it(office: Office) -> None:
    one, other = office.parked("/approval?trip=7"), office.parked("/approval?trip=8")

    assert office.post({"name": APPROVED, "data": {"trip": "8", "by": "Bob"}}) == 200
    assert office.end(other) == {"by": "Bob"}
    assert office.post([{"name": APPROVED, "data": {"trip": "7", "by": "Ann"}}]) == 200
    assert office.end(one) == {"by": "Ann"}


def test_what_is_no_event_is_refused(office: Office) -> None:
    assert office.post({"name": ""}) == 400
    assert office.post({"name": APPROVED}, key="key-2") == 401
    assert office.post([{"name": APPROVED, "data": {"text": "x" * 600_000}}]) == 413


def test_wait_ends_with_nothing_when_its_time_has_come(office: Office) -> None:
    assert office.end(office.parked("/approval?trip=7&timeout=50ms")) == {"by": None}


def test_wait_that_cannot_work_is_an_error(office: Office) -> None:
    assert "has no such field" in office.answer("/wrong")["error"]


def test_step_sends_events_and_signals(office: Office) -> None:
    waiting = [office.parked("/approval?trip=7"), office.parked("/signal")]
    taken = office.answer("/signal")
    (event_id,), *signals = office.answer("/sender")

    assert "is waited for by run" in taken["taken"]
    assert event_id.endswith(":tell:0")
    assert signals == [True, False]
    assert [office.end(location) for location in waiting] == [{"by": "Ann"}, {"data": 5}]


def test_child_run_answers_its_caller(office: Office) -> None:
    assert office.end(office.parked("/order/Zürich")) == [
        {"card": "Zürich", "query": {"x": "1 & 2"}, "body": None},
        {"card": "Zürich", "query": {}, "body": [1]},
    ]


def test_child_run_that_fails_raises_in_its_caller(office: Office) -> None:
    said = office.end(office.parked("/order/declined"))

    assert said["error"] == "declined"
    assert len(said["child"]) == 26
