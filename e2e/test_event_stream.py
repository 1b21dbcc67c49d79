"""A browser's EventSource follows a booking; the server is killed meanwhile, and nothing is missed or told twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from e2e.trip_booker import TripBooker

# Starts a booking, follows it to its result, and on until the browser stops to ask for more.
FOLLOW = """
async ({url, key, kinds, kill}) => {
    const answer = await fetch(url, {headers: {'Accept': 'text/event-stream', 'Idempotency-Key': key}});
    await answer.body.cancel();
    const heard = [];
    let opened = 0;
    return await new Promise((resolve) => {
        const source = new EventSource(answer.url);
        source.onopen = () => { opened += 1; };
        source.onerror = () => {
            if (source.readyState === EventSource.CLOSED) resolve({opened, heard});
        };
        if (kill) {
            // The stream is open by now, and the run not over.
            const killed = () => fetch('/api/server/kill', {method: 'POST'}).catch(() => {});
            source.addEventListener('step.completed', killed, {once: true});
        }
        for (const kind of kinds) {
            source.addEventListener(kind, (event) => heard.push([event.lastEventId, kind, JSON.parse(event.data)]));
        }
    });
}
"""
KINDS = [
    *("run.started", "run.reentered", "run.interrupted", "run.retrying", "run.recovered", "run.completed"),
    *("run.failed", "run.cancelled", "step.started", "step.progress", "step.retrying", "step.failed"),
    *("step.waiting", "step.completed", "result"),
]


README = (Path(__file__).parents[1] / "README.md").read_text()


def test_readme_shows_how_to_follow_a_run(page: Page, trip_booker: TripBooker) -> None:
    """Its lines, as they stand there, lead a page to the result."""
    [lines] = re.findall(r"```js\n(.*?)```", README, re.DOTALL)
    page.goto("/")
    told = page.evaluate(
        f"""([url, bookingId]) => new Promise(async (resolve) => {{
            const shown = [], show = (step) => shown.push(step), finish = (body) => resolve([shown, body]);
            {lines}
        }})""",
        ["/api/booking?bookingId=BK-js", "BK-js"],
    )

    assert told[0] == ["search-availability", "reserve-flight", "process-payment", "confirm-booking"]
    assert told[1]["bookingId"] == "BK-js"
    assert trip_booker.outcomes("BK-js", "payments", "charge") == ["charged"]


@pytest.mark.parametrize("trip_booker", [0.5], indirect=True)
def test_event_source_goes_on_after_a_kill(page: Page, trip_booker: TripBooker) -> None:
    """It connects again by itself, with the last ID that it has seen; after the result it stops by itself, too."""
    page.goto("/")
    booking = {"url": "/api/booking?bookingId=BK-e2e", "key": "BK-e2e", "kinds": KINDS}
    live = page.evaluate(FOLLOW, {**booking, "kill": True})
    late = page.evaluate(FOLLOW, booking)
    kinds = [kind for _, kind, _ in live["heard"]]

    assert live["heard"] == late["heard"]
    assert (live["opened"], late["opened"]) == (2, 1)
    assert "killed by SIGKILL" in trip_booker.output
    assert kinds.count("run.recovered") == 1
    assert kinds[-2:] == ["run.completed", "result"]
    assert live["heard"][-1][2]["body"]["success"] is True
    completed = [data["step"] for _, kind, data in live["heard"] if kind == "step.completed"]
    assert completed == ["search-availability", "reserve-flight", "process-payment", "confirm-booking"]
    assert trip_booker.outcomes("BK-e2e", "payments", "charge").count("charged") == 1
