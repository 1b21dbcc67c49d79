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
