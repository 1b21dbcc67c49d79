"""What the page's own module makes of a run's events: recorded ones, repeated ones, and every beginning of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trip_booker
from playwright.sync_api import Browser, Route

from e2e.booking_page import note_console_errors
from e2e.event_stream import RECORDED

STATIC = Path(trip_booker.__file__).parent / "static"

# Nobody is asked for it: what is below it comes from the package's files.
ORIGIN = "http://modules.test"

REDUCE = """async (runs) => {
    const { UNKNOWN, reduce } = await import("/static/run.js");
    return runs.map((events) => events.reduce(reduce, UNKNOWN));
}"""

Reduced = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def reduced(browser: Browser) -> Iterator[Reduced]:
    """Return a function: what a browser that loads the module makes of the events of each run that it is given."""

    def file(route: Route) -> None:
        route.fulfill(path=STATIC / route.request.url.rpartition("/")[2])

    errors: list[str] = []
    with browser.new_context(base_url=ORIGIN) as context:
        note_console_errors(context, errors)
        context.route("**/*", lambda route: route.fulfill(content_type="text/html", body="<!doctype html>"))
        context.route("**/static/*", file)
        page = context.new_page()
        page.goto("/")
        yield lambda *runs: page.evaluate(REDUCE, runs)
    assert errors == []


def test_recorded_crash_becomes_a_picture(reduced: Reduced) -> None:
    """A retry, a kill in mid-payment and the end: who ran what, how often, and what was not run again."""
    [run] = reduced(RECORDED)

    assert (run["status"], run["result"]["status"]) == ("completed", 200)
    assert [step["state"] for step in run["steps"].values()] == ["completed"] * 4
    ends = {key: [attempt["end"] for attempt in step["attempts"]] for key, step in run["steps"].items()}
    assert ends == {
        "search-availability": ["completed"],
        "reserve-flight": ["failed", "completed"],
        "process-payment": ["died", "completed"],
        "confirm-booking": ["completed"],
    }
    died = [crashed for crashed in run["passes"] if crashed["end"] == "died"]
    assert [crashed["seen"] < crashed["to"] for crashed in died] == [True]
    assert len({each["pid"] for each in run["passes"]}) == 2
    assert len(run["steps"]["search-availability"]["replays"]) == 2
    assert all(wait["to"] for step in run["steps"].values() for wait in step["waits"])


def test_event_that_comes_twice_counts_once(reduced: Reduced) -> None:
    """A stream that was lost and found may repeat itself; the picture does not."""
    again = [event for event in RECORDED for _ in range(2)]

    [once, twice] = reduced(RECORDED, again)
    assert twice == once


def test_every_beginning_of_a_run_is_a_state(reduced: Reduced) -> None:
    """Wherever the events stop, there is a status, and a line in the log for each of them."""
    beginnings = [RECORDED[:length] for length in range(1, len(RECORDED))]

    for events, run in zip(beginnings, reduced(*beginnings), strict=True):
        assert run["status"] in ("running", "waiting", "lost", "completed")
        assert len(run["log"]) == len(events)


def test_cancellation_leaves_no_step_open(reduced: Reduced) -> None:
    """Wherever it comes: what was finished stays so, and nothing runs or waits any more in the picture."""
    beginnings = [RECORDED[:length] for length in range(1, len(RECORDED) - 1)]
    ends = [
        {"kind": "run.cancelled", "id": "9007199254740991", "at": RECORDED[len(events)]["at"]} for events in beginnings
    ]
    cancelled = [[*events, end] for events, end in zip(beginnings, ends, strict=True)]

    for before, run, end in zip(reduced(*beginnings), reduced(*cancelled), ends, strict=True):
        assert (run["status"], run["endedAt"]) == ("cancelled", end["at"])
        for key, step in run["steps"].items():
            finished = before["steps"][key]["state"] == "completed"
            assert step["state"] == ("completed" if finished else "cancelled")
            assert None not in [lasted["to"] for lasted in (*step["attempts"], *step["waits"])]
