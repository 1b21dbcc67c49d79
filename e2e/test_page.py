"""The page itself: its state from recorded events, its calm while events come in, and whether everybody can use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from e2e.booking_page import DROPPED_CONNECTION, BookingPage
from e2e.event_stream import streamed
from e2e.trip_booker import TripBooker

RECORDED = json.loads((Path(__file__).parent / "recordings" / "killed_during_payment.json").read_text())

REDUCE = """async (events) => {
    const { UNKNOWN, reduce } = await import("/static/run.js");
    return events.reduce(reduce, UNKNOWN);
}"""

OBSERVE = """() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
        for (const { hadRecentInput, sources, value } of list.getEntries()) {
            // A chart whose time goes on is drawn anew, and nothing around it moves.
            const moved = sources.filter(({ node }) => node && !node.parentElement?.closest("#timeline"));
            if (!hadRecentInput && moved.length) shifts.push(value);
        }
    }).observe({ type: "layout-shift", buffered: true });
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


def test_cancellation_leaves_no_step_open(page: Page) -> None:
    """Wherever it comes: what was finished stays so, and nothing runs or waits any more in the picture."""
    for length in range(1, len(RECORDED) - 1):
        before = reduced(page, RECORDED[:length])
        end = {"kind": "run.cancelled", "id": "9007199254740991", "at": RECORDED[length]["at"]}
        run = reduced(page, [*RECORDED[:length], end])

        assert (run["status"], run["endedAt"]) == ("cancelled", end["at"])
        for key, step in run["steps"].items():
            finished = before["steps"][key]["state"] == "completed"
            assert step["state"] == ("completed" if finished else "cancelled")
            assert None not in [lasted["to"] for lasted in (*step["attempts"], *step["waits"])]


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


def flood(count: int) -> list[dict[str, Any]]:
    """Return the events of a run whose only step tells its progress *count* times."""
    began, ended = RECORDED[0], RECORDED[-2:]
    told = [
        {"kind": "step.progress", "id": number, "at": began["at"] + number / 60, "step": "search-availability"}
        | {"attempt": 1, "text": f"fare {number}"}
        for number in range(2, count + 2)
    ]
    return [began, *told, *ended]


class Work:
    """How long scripts, styles and layouts of *page* have occupied a processor, whatever else the machine was doing."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._before = 0.0
        self._before = self.seconds()

    def seconds(self) -> float:
        """Return the processor time since the beginning, in seconds."""
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        spent = {metric["name"]: float(metric["value"]) for metric in metrics}
        return sum(spent[f"{kind}Duration"] for kind in ("Script", "RecalcStyle", "Layout")) - self._before


@pytest.mark.parametrize(
    ("count", "per_second"), [(180, 60), (2000, 100_000)], ids=["60 a second", "2000 nearly at once"]
)
def test_flood_of_events_does_not_block_the_page(count: int, per_second: float, page: Page) -> None:
    """They are drawn with the next frame, however many there are: a frame has time for it, and nothing moves."""
    booking = BookingPage(page)
    work = Work(page)
    page.evaluate(OBSERVE)
    page.evaluate("shifts.length = 0")

    with streamed(page, flood(count), per_second=per_second):
        booking.book()
        booking.expect_state("completed")

        expect(booking.log.get_by_text(f"fare {count + 1}")).to_be_visible()
        # Half of the time that sixty a second leave; a redraw for each of two thousand takes longer.
        assert work.seconds() < 1.5
        assert page.evaluate("shifts.reduce((sum, shift) => sum + shift, 0)") < 0.01


@pytest.mark.parametrize("size", [(1400, 900), (900, 800), (390, 844)], ids=["wide", "between", "narrow"])
def test_cards_keep_their_size_whatever_a_run_comes_to(size: tuple[int, int], page: Page) -> None:
    """A person is asked, a run is cancelled: no card grows or shrinks for it."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    booking = BookingPage(page)
    booking.choose("Over budget")
    before = card_sizes(page)

    booking.book()
    booking.expect_state("waiting")
    expect(booking.receipt).to_contain_text("held")
    expect(booking.exchange).to_contain_text("redirected")
    assert card_sizes(page) == before
    booking.cancel.click()
    booking.expect_state("cancelled")
    expect(booking.message).to_contain_text("Still held")
    expect(booking.exchange).to_contain_text("410")

    assert card_sizes(page) == before


def card_sizes(page: Page) -> list[list[int]]:
    """Return how wide and high the cards are, in pixels."""
    sizes: list[list[int]] = page.locator(".card").evaluate_all(
        "cards => cards.map(card => [card.offsetWidth, card.offsetHeight])"
    )
    return sizes


# How far the recorded run is when each state begins, and the words of that state.
STATES = {"step.started": "Running", "step.retrying": "Retrying", "run.recovered": "Recovering"}


@pytest.mark.parametrize("settings", [{"color_scheme": "light"}, {"color_scheme": "dark"}], ids=["light", "dark"])
def test_page_is_accessible_while_a_run_goes_on(page: Page, console_errors: list[str]) -> None:
    """Nothing is found by axe in any state that passes, nor when the connection is lost."""
    for kind, words in STATES.items():
        booking = BookingPage(page)
        length = next(number for number, event in enumerate(RECORDED, 1) if event["kind"] == kind)
        with streamed(page, RECORDED[:length], per_second=1000):
            booking.book()
            expect(page.locator("#state")).to_have_text(words)
            assert violations(page) == []
        booking.expect_state("lost")
        page.unroute_all()
    assert violations(page) == []
    assert [error for error in console_errors if not DROPPED_CONNECTION.search(error)] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"viewport": {"width": 1400, "height": 900}, "color_scheme": "light"},
        {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
    ],
    ids=["wide and light", "narrow and dark"],
)
def test_page_is_accessible(page: Page) -> None:
    """Nothing is found by axe before a booking, while it waits for a person, and however it ends."""
    booking = BookingPage(page, "/?booking=BK-none")
    expect(booking.title).to_have_text("No such booking")
    assert violations(page) == []
    booking = BookingPage(page)
    assert violations(page) == []

    booking.choose("Over budget")
    booking.book()
    booking.expect_state("waiting")
    assert violations(page) == []
    booking.cancel.click()
    booking.expect_state("cancelled")
    assert violations(page) == []

    booking.choose("Tour")
    booking.book()
    booking.expect_state("failed")
    assert violations(page) == []

    booking.choose("Flight")
    booking.switch_on("Kill it during process-payment")
    booking.book()
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
