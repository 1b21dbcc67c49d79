"""Whether everybody can use the page: axe finds nothing in any of its states, and the keyboard is enough."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, ViewportSize, expect

from e2e.booking_page import DROPPED_CONNECTION, BookingPage
from e2e.event_stream import RECORDED, streamed
from e2e.trip_booker import TripBooker

# How far the recorded run is when each state begins, and the words of that state.
STATES = {"step.started": "Running", "step.retrying": "Retrying", "run.recovered": "Recovering"}

WIDE: ViewportSize = {"width": 1400, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}
# The rules whose answer the colours and the size of the window can change: most of axe's time goes into the others.
OF_LOOKS = ["color-contrast", "scrollable-region-focusable", "target-size"]


@pytest.mark.parametrize("settings", [{"viewport": WIDE, "color_scheme": "light"}], ids=["wide and light"])
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


@pytest.mark.parametrize("settings", [{"viewport": WIDE, "color_scheme": "light"}], ids=["wide and light"])
def test_page_is_accessible(page: Page) -> None:
    """Nothing is found by axe before a booking, while it waits for a person, and however it ends."""
    booking = BookingPage(page, "/?booking=BK-none")
    expect(booking.title).to_have_text("No such booking on this page")
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


def test_time_that_passes_is_not_read_aloud(page: Page) -> None:
    """Seconds are counted on the page, but not where a screen reader tells each change."""
    booking = BookingPage(page)
    booking.choose("Over budget")
    booking.book()
    booking.expect_state("waiting")
    expect(booking.exchange).to_contain_text("redirected")
    told = page.locator("[role=status], [aria-live]").all_inner_texts()

    left = booking.row("wait-for-approval").inner_text()
    page.wait_for_function(
        "([row, left]) => row.innerText !== left", arg=[booking.row("wait-for-approval").element_handle(), left]
    )

    assert "at most 24 h 0 min" in booking.message.inner_text()
    assert page.locator("[role=status], [aria-live]").all_inner_texts() == told


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong, one line each: by all rules as the page is, by those of looks narrow and dark."""
    found = ailing(page, {})
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(NARROW)
    found += ailing(page, {"runOnly": OF_LOOKS})
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(WIDE)
    return found


def ailing(page: Page, options: dict[str, object]) -> list[str]:
    """Return what axe finds wrong at this moment, one line each."""
    found = Axe().run(page, options={**options, "resultTypes": ["violations"]}).response["violations"]
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
