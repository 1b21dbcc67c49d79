"""The page itself: its state from recorded events, its calm while events come in, and whether everybody can use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, Route, expect

from e2e.booking_page import BookingPage
from e2e.trip_booker import TripBooker

RECORDED = json.loads((Path(__file__).parent / "recordings" / "killed_during_payment.json").read_text())

REDUCE = """async (events) => {
    const { UNKNOWN, reduce } = await import("/static/run.js");
    return events.reduce(reduce, UNKNOWN);
}"""

OBSERVE = """() => {
    window.shifts = [];
    window.longest = 0;
    new PerformanceObserver((list) => {
        for (const { hadRecentInput, sources, value } of list.getEntries()) {
            // A chart whose time goes on is drawn anew, and nothing around it moves.
            const moved = sources.filter(({ node }) => node && !node.parentElement?.closest("#timeline"));
            if (!hadRecentInput && moved.length) shifts.push(value);
        }
    }).observe({ type: "layout-shift", buffered: true });
    new PerformanceObserver((list) => {
        for (const task of list.getEntries()) longest = Math.max(longest, task.duration);
    }).observe({ type: "longtask" });
}"""

VIEWPORTS = {"wide": (1400, 900), "narrow": (390, 844)}


def reduced(page: Page, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the page's own module makes of *events*."""
    if page.url == "about:blank":
        page.goto("/")
    state: dict[str, Any] = page.evaluate(REDUCE, events)
    return state


def test_recorded_crash_becomes_a_picture(page: Page) -> None:
    """A retry, a kill in mid-payment and the end: who ran what, how often, and what was not run again."""
    run = reduced(page, RECORDED)

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


def test_event_that_comes_twice_counts_once(page: Page) -> None:
    """A stream that was lost and found may repeat itself; the picture does not."""
    again = [event for event in RECORDED for _ in range(2)]

    assert reduced(page, again) == reduced(page, RECORDED)


def test_every_beginning_of_a_run_is_a_state(page: Page) -> None:
    """Wherever the events stop, there is a status, and a line in the log for each of them."""
    for length in range(1, len(RECORDED)):
        run = reduced(page, RECORDED[:length])

        assert run["status"] in ("running", "waiting", "lost", "completed")
        assert len(run["log"]) == length


@pytest.mark.parametrize("trip_booker", [0.3], indirect=True, ids=["some latency"])
@pytest.mark.parametrize("size", VIEWPORTS)
def test_nothing_jumps_while_events_come_in(size: str, page: Page) -> None:
    """Each row, bar and card has its place before it is needed, also when the server dies."""
    width, height = VIEWPORTS[size]
    page.set_viewport_size({"width": width, "height": height})
    booking = BookingPage(page)
    booking.switch_on("Kill it during process-payment")
    page.evaluate(OBSERVE)
    page.evaluate("shifts.length = 0")

    booking.book()
    booking.expect_state("completed")
    expect(booking.charges).to_contain_text("1 charge on the card")

    assert page.evaluate("shifts.reduce((sum, shift) => sum + shift, 0)") < 0.01


def test_flood_of_events_does_not_block_the_page(page: Page) -> None:
    """Sixty events a second are few: two thousand at once are drawn with the next frame."""
    began, ended = RECORDED[0], RECORDED[-2:]
    flood = [
        {"kind": "step.progress", "id": number, "at": began["at"] + number / 60, "step": "search-availability"}
        | {"attempt": 1, "text": f"fare {number}"}
        for number in range(2, 2002)
    ]
    events = [began, *flood, *ended]
    body = "".join(f"id: {event['id']}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n" for event in events)

    def answer(route: Route) -> None:
        if "event-stream" in route.request.headers.get("accept", ""):
            route.fulfill(body=body, headers={"content-type": "text/event-stream"})
        else:
            route.continue_()

    page.route("**/_inngest/runs/**", answer)
    booking = BookingPage(page)
    page.evaluate(OBSERVE)

    booking.book()
    booking.expect_state("completed")

    expect(booking.log.get_by_text("fare 2001")).to_be_visible()
    assert page.evaluate("longest") < 500


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", VIEWPORTS)
def test_page_is_accessible(size: str, scheme: Any, browser: Browser, trip_booker: TripBooker) -> None:
    """Nothing is found by axe before a booking, after one that failed and after one that was killed and went on."""
    width, height = VIEWPORTS[size]
    viewport: Any = {"width": width, "height": height}
    with browser.new_context(base_url=trip_booker.url, viewport=viewport, color_scheme=scheme) as context:
        page = context.new_page()
        booking = BookingPage(page)
        assert violations(page) == []

        booking.choose("Tour")
        booking.book()
        booking.expect_state("failed")
        assert violations(page) == []

        booking.choose("Flight")
        booking.switch_on("Kill it during process-payment")
        page.get_by_role("button", name="Book this trip").click()
        booking.expect_state("completed")
        assert violations(page) == []


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong, one line each."""
    found = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]]


def test_keyboard_is_enough(page: Page, trip_booker: TripBooker) -> None:
    """From the address bar: choose a trip with the arrows, go to the button with Tab, book with Enter."""
    booking = BookingPage(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="Flight")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Rough day")).to_be_checked()
    while page.evaluate("document.activeElement.id") != "book":
        page.keyboard.press("Tab")

    page.keyboard.press("Enter")
    booking.expect_state("completed")

    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged"]
