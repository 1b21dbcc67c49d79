"""The app on an Inngest server, played by the SDK's fake of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from trip_booker.patterns import PATTERNS

from e2e.trip_booker import TripBooker
from packages.inngest_durable.tests.inngest.fake_server import FakeInngest
from testkit.ports import free_port
from testkit.waiting import wait_until

FLIGHT = PATTERNS["flight"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeInngest]:
    """Run a fake Dev Server in real time, and let the app's processes find it."""
    with FakeInngest() as fake:
        for name, value in fake.environment().items():
            monkeypatch.setenv(name, value)
        yield fake
        assert fake.violations == []


def who(booking_id: str, **headers: str) -> dict[str, str]:
    """Return the headers that the page sends."""
    return {"Authorization": f"Booking {booking_id}", "Idempotency-Key": booking_id, **headers}


def told(response: httpx.Response) -> list[str]:
    """Return the kinds of the events in a stream that has ended."""
    return [line.removeprefix("event: ") for line in response.text.splitlines() if line.startswith("event: ")]


def look_up(demo: TripBooker, booking_id: str) -> httpx.Response:
    """Find a booking as the page does when it is reloaded, and read its events to the end."""
    asked = {"endpoint": FLIGHT.endpoint, "key": booking_id}
    headers = who(booking_id, Accept="text/event-stream")
    return httpx.get(f"{demo.url}/_inngest/runs", params=asked, headers=headers, follow_redirects=True, timeout=30)


def test_page_follows_a_booking_at_the_app(fake: FakeInngest, demo: TripBooker) -> None:
    """The run is on the server, which has no run events: the client that wants them is sent to the app."""
    url = f"{demo.url}{FLIGHT.path}?bookingId=BK-1"

    redirect = httpx.get(url, headers=who("BK-1", Accept="text/event-stream"), timeout=30)
    url = f"{demo.url}{redirect.headers['location']}"
    events = told(httpx.get(url, headers={"Accept": "text/event-stream"}, timeout=30))

    assert redirect.status_code == 303
    assert [run.status for run in fake.runs] == ["Completed"]
    assert (events[0], events[-2:]) == ("run.started", ["run.completed", "result"])
    assert events.count("step.completed") == len(FLIGHT.steps)


def test_booking_goes_on_after_a_kill_and_the_page_is_told_of_it(fake: FakeInngest, demo: TripBooker) -> None:
    """Once the lease of the killed pass is over, the server enters the run again."""
    url = f"{demo.url}{FLIGHT.path}?bookingId=BK-2&crash=process-payment"
    with pytest.raises(httpx.TransportError):
        httpx.get(url, headers=who("BK-2"), timeout=30)
    wait_until(demo.answers, "the app to be back")
    fake.hurry()

    wait_until(lambda: "result" in told(look_up(demo, "BK-2")), "the end of the booking")

    assert told(look_up(demo, "BK-2")).count("run.recovered") == 1
    assert demo.outcomes("BK-2", "airline", "reserve") == ["held"]
    assert demo.outcomes("BK-2", "payments", "charge") == ["charged", "replayed"]


def test_approval_is_told_to_the_page(fake: FakeInngest, demo: TripBooker) -> None:
    """The server knows that the decision has come; those who follow the run are told that the wait is over."""
    asked = {"bookingId": "BK-4"}
    headers = who("BK-4", Accept="text/event-stream")
    redirect = httpx.post(f"{demo.url}{PATTERNS['approval'].path}", json=asked, headers=headers, timeout=30)
    url = f"{demo.url}{redirect.headers['location']}"
    ended = []

    with httpx.stream("GET", url, headers={"Accept": "text/event-stream"}, timeout=30) as stream:
        kind = ""
        for line in stream.iter_lines():
            name, _, text = line.partition(": ")
            if name == "event":
                kind = text
            elif name == "data" and kind == "step.waiting":
                decision = f"{demo.url}/api/trips/BK-4/decision"
                httpx.post(decision, json={"approved": True}, timeout=30).raise_for_status()
            elif name == "data" and kind == "step.completed":
                ended.append(json.loads(text)["step"])

    assert ended == list(PATTERNS["approval"].steps)


def test_booking_that_ended_before_a_restart_is_found(fake: FakeInngest, demo: TripBooker) -> None:
    """The new process knows nothing of it: the server has its end, and the page gets its result."""
    httpx.get(f"{demo.url}{FLIGHT.path}?bookingId=BK-3", headers=who("BK-3"), timeout=30).raise_for_status()
    # The client has its answer before the server does.
    wait_until(lambda: [run.status for run in fake.runs] == ["Completed"], "the server to have the end")
    demo.kill()
    demo.start()
    demo.wait_ready()

    found = look_up(demo, "BK-3")

    assert told(found)[-1] == "result"
    [*_, result] = [line for line in found.text.splitlines() if line.startswith("data: ")]
    assert json.loads(result.removeprefix("data: "))["body"]["success"] is True


def test_command_says_how_to_start_a_server_where_there_is_none(tmp_path: Path) -> None:
    """It ends with the command to type, and starts nothing."""
    url = f"http://127.0.0.1:{free_port()}"
    ended = subprocess.run(
        [sys.executable, "-m", "trip_booker", "--inngest"],
        env={**os.environ, "INNGEST_DEV": url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert url in ended.stderr
    assert "npx inngest-cli@latest dev" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []
