"""The page's calm while events come in: nothing moves, and however many there are, it draws once a frame."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from e2e.booking_page import BookingPage
from e2e.chatty_app import FARES
from e2e.trip_booker import CHATTY

# In each document from its beginning: how far things moved that nobody had touched, and which.
OBSERVE = """
    window.shifts = [];
    new PerformanceObserver((list) => {
        for (const { hadRecentInput, sources, value } of list.getEntries()) {
            if (!hadRecentInput) shifts.push([value, sources.map(({ node }) => node?.id || node?.className)]);
        }
    }).observe({ type: "layout-shift", buffered: true });
"""
# How the code panel was moved, each time: "auto" is at once.
NOTE_SCROLLS = """
    window.scrolls = new Set();
    const scrollTo = Element.prototype.scrollTo;
    Element.prototype.scrollTo = function (options) {
        scrolls.add(options.behavior);
        return scrollTo.call(this, options);
    };
"""
# What must be read to the end; what a step tells of itself is cut off where the line ends.
CLIPPED = """() => {
    const words = document.querySelectorAll(
        ".kind span, .progress .name, .progress [data-undo] .sub, td, th, .listing .source"
    );
    return [...words].filter((element) => element.clientWidth)
        .filter((element) => element.scrollWidth > Math.min(element.clientWidth, element.parentElement.clientWidth))
        .map((element) => element.innerText);
}"""
# A hundredth of what is called good; a badge that is set flush right and gets a word more is a twentieth of that.
STILL = 0.001

VIEWPORTS = {"wide": (1400, 900), "narrow": (390, 844)}


def shifted(page: Page) -> tuple[float, list[object]]:
    """Return the layout shift score of *page* since it was loaded, and of what it is the sum."""
    shifts = page.evaluate("shifts")
    return sum(value for value, _ in shifts), shifts


class Layouts:
    """Counts how often *page* is laid out, from now on."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable")
        self._before = 0
        self._before = self.count()

    def count(self) -> int:
        """Return how often that was."""
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return next(int(metric["value"]) for metric in metrics if metric["name"] == "LayoutCount") - self._before


@pytest.mark.parametrize("trip_booker", [0.3], indirect=True, ids=["some latency"])
@pytest.mark.parametrize("size", VIEWPORTS)
def test_nothing_jumps_while_events_come_in(size: str, page: Page) -> None:
    """Each row, bar and card has its place before it is needed, also when a step fails and when the server dies."""
    width, height = VIEWPORTS[size]
    page.set_viewport_size({"width": width, "height": height})
    page.add_init_script(OBSERVE)
    booking = BookingPage(page)
    booking.choose("Rough day")
    booking.switch_on("Kill it during process-payment")

    booking.book()
    booking.expect_state("completed")
    expect(booking.charges).to_contain_text("1 charge on the card")

    score, shifts = shifted(page)
    assert score < STILL, shifts


@pytest.mark.parametrize("program", [CHATTY], ids=["chatty airline"])
def test_flood_of_events_is_drawn_by_frames(page: Page) -> None:
    """Hundreds a second, and then all of them at once: the last one is shown, nothing moves, and no work piles up."""
    page.add_init_script(OBSERVE)
    booking = BookingPage(page)
    layouts = Layouts(page)

    booking.book()
    booking.expect_state("completed")
    expect(booking.receipt).to_contain_text("E-ticket")
    expect(booking.log.get_by_text(f"search-availability: fare {FARES}", exact=True)).to_have_count(1)
    # To draw an event takes two layouts. Sixty frames a second are what a screen can show.
    assert layouts.count() < FARES
    score, shifts = shifted(page)
    assert score < STILL, shifts

    shown = booking.picture()
    page.goto("about:blank")
    layouts = Layouts(page)
    page.go_back()
    booking.expect_state("completed")
    expect(booking.receipt).to_contain_text("E-ticket")
    assert layouts.count() < FARES / 10
    assert booking.picture() == shown


@pytest.mark.parametrize(("size", "moves"), [("wide", ["smooth"]), ("narrow", ["auto"])])
def test_code_panel_glides_only_where_it_is_seen(size: str, moves: list[str], page: Page) -> None:
    """On a small screen it is far below while a booking runs: moved there bit by bit, it may be shown half painted."""
    width, height = VIEWPORTS[size]
    page.set_viewport_size({"width": width, "height": height})
    page.add_init_script(NOTE_SCROLLS)
    booking = BookingPage(page)
    booking.choose("Rough day")

    booking.book()
    booking.expect_state("completed")

    assert page.evaluate("[...scrolls]") == moves


def test_log_keeps_its_end_in_sight_when_the_screen_is_turned(page: Page) -> None:
    """Lines break anew then; who has scrolled back stays where they are."""
    beyond = "list => list.scrollHeight - list.scrollTop - list.clientHeight"
    booking = BookingPage(page)
    booking.choose("Over budget")
    booking.book()
    expect(booking.log).to_contain_text("Out of memory")

    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Approve").click()
    booking.expect_state("completed")
    expect(booking.log).to_contain_text("Answered 200")
    assert booking.log.evaluate(beyond) < 2

    booking.log.evaluate(
        "list => new Promise(done => { list.addEventListener('scroll', () => done()); list.scrollTop = 0; })"
    )
    page.set_viewport_size({"width": 844, "height": 390})
    assert booking.log.evaluate("list => list.scrollTop") == 0


@pytest.mark.parametrize("size", [(1240, 900), (1400, 900), (390, 844)], ids=["just wide", "wide", "narrow"])
def test_words_are_not_cut_off(size: tuple[int, int], page: Page) -> None:
    """Titles, what was taken back, and what third parties answered are there to the last letter."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    booking = BookingPage(page)
    booking.break_step("process-payment", "fails always")

    booking.book()
    booking.expect_state("failed")
    expect(page.locator("#calls")).to_contain_text("CARD_DECLINED")
    expect(page.locator("#calls")).to_contain_text("released")

    assert page.evaluate(CLIPPED) == []


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
