"""
A browser's EventSource follows a run, and nothing is missed or told twice.

The server is killed meanwhile, or the connection is cut again and again while the server lives.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Page

from e2e.trip_booker import TripBooker
from testkit.cutting_proxy import cutting_proxy

# Follows a run to its result, and on until the browser stops to ask for more.
FOLLOW = """
({url, kinds, kill}) => {
    const heard = [];
    let opened = 0;
    return new Promise((resolve) => {
        const source = new EventSource(url);
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


def started(url: str) -> str:
    """Start the run of an endpoint, and return its wait URL."""
    headers = {"Accept": "text/event-stream", "Idempotency-Key": "one"}
    return str(httpx.get(url, headers=headers, timeout=30).next_request.url)  # type: ignore[union-attr]


def follow(page: Page, url: str, *, kill: bool = False) -> dict[str, Any]:
    """Return what *page* hears of a run, and how often it opened a connection for that."""
    told: dict[str, Any] = page.evaluate(FOLLOW, {"url": url, "kinds": KINDS, "kill": kill})
    return told


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
    url = started(f"{trip_booker.url}/api/booking?bookingId=BK-e2e")
    live = follow(page, url, kill=True)
    late = follow(page, url)
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


def test_event_source_goes_on_however_often_its_connection_is_cut(page: Page, trip_booker: TripBooker) -> None:
    """Each time in the middle of an event, after which it connects again by itself."""
    page.goto("/")
    heard = followed_through_cuts(page, started(f"{trip_booker.url}/api/booking?bookingId=BK-cut"), 1_600)

    assert heard[-1][2]["body"]["success"] is True


def test_event_source_goes_on_after_cuts_in_front_of_flask(page: Page, flask_url: str) -> None:
    """Behind a server of threads, whose page is of another origin."""
    page.goto("/")
    heard = followed_through_cuts(page, started(f"{flask_url}/process?id=42&fail=2"), 900)

    assert heard[-1][2]["body"] == {"result": {"id": "42", "status": "processed"}}
    assert [kind for _, kind, _ in heard].count("step.retrying") == 2


def followed_through_cuts(page: Page, url: str, most_bytes: int) -> list[Any]:
    """
    Return what *page* hears of a run, if that is everything although its stream is cut.

    In *most_bytes* there is room for the head of an answer and the longest event, the result, but not for all events.
    """
    parts = urlsplit(url)
    assert parts.port
    with cutting_proxy(parts.port, most_bytes) as proxy:
        cut = follow(page, parts._replace(netloc=f"127.0.0.1:{proxy.port}").geturl())
    whole = follow(page, url)

    assert cut["heard"] == whole["heard"]
    assert cut["opened"] > 2
    assert whole["opened"] == 1
    return list(whole["heard"])
