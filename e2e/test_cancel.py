"""A run is cancelled on the page: it stops where it is, nothing is taken back, and the page says what is left."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, expect

from e2e.booking_page import REFUSED_BOOKING, BookingPage
from e2e.trip_booker import TripBooker


def unrefused(console_errors: list[str]) -> list[str]:
    """Leave out what a browser says of the 410 of a cancelled run."""
    return [line for line in console_errors if not REFUSED_BOOKING.search(line)]


def test_run_is_cancelled_while_it_waits_for_approval(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """By keyboard: the seat stays held and the page says so, also anew and in another tab; no approval helps."""
    booking = BookingPage(page)
    booking.choose("Over budget")
    expect(booking.cancel).to_be_hidden()
    booking.book()
    booking.expect_state("waiting")

    booking.cancel.press("Enter")
    booking.expect_state("cancelled")

    expect(booking.title).to_have_text("Cancelled")
    expect(booking.message).to_contain_text("Still held: seat.")
    expect(booking.receipt).to_contain_text("nothing was charged")
    expect(booking.exchange).to_contain_text("410")
    expect(booking.cancel).to_be_hidden()
    expect(booking.outcome).to_be_focused()
    booking.expect_rows("cancelled", "wait-for-approval")
    booking.expect_rows("pending", "process-payment", "confirm-booking", "release-seat")
    shown = booking.picture()

    url = f"{trip_booker.url}/api/trips/{booking.booking_id}/decision"
    late = httpx.post(url, json={"approved": True}, timeout=30)
    assert late.status_code == 202
    page.reload()
    second = BookingPage(page.context.new_page(), page.url)
    for again in (booking, second):
        again.expect_state("cancelled")
        expect(again.message).to_contain_text("Still held: seat.")
        assert again.picture() == shown
    outcomes = [call.outcome for call in trip_booker.world.calls(booking.booking_id)]
    assert outcomes == ["found", "held"]
    assert unrefused(console_errors) == []


@pytest.mark.parametrize("trip_booker", [0.3], indirect=True, ids=["some latency"])
def test_step_in_flight_is_not_stopped_by_a_cancellation(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """The bank was asked already: the charge comes through, and the page tells of it though no event does."""
    booking = BookingPage(page)
    booking.break_step("process-payment", "is slow")

    booking.book()
    booking.as_soon_as_it_runs("process-payment", "document.querySelector('#cancel').click()")
    booking.expect_state("cancelled")
    expect(booking.message).to_contain_text("process-payment was under way")
    expect(booking.charges).to_contain_text("1 charge on the card")

    expect(booking.message).to_contain_text("Still held: seat. Still charged: $310.")
    booking.expect_rows("cancelled", "process-payment")
    assert booking.bars("cancelled").count() == 1
    outcomes = [call.outcome for call in trip_booker.world.calls(booking.booking_id)]
    assert outcomes == ["found", "held", "charged"]
    assert unrefused(console_errors) == []


def test_only_what_goes_on_can_be_cancelled(page: Page, trip_booker: TripBooker) -> None:
    """The button is there from the start of a run to its end, and away while the server is."""
    booking = BookingPage(page)
    booking.choose("Over budget")
    booking.book()
    expect(booking.cancel).to_be_visible()

    trip_booker.kill()
    booking.expect_state("lost")
    expect(booking.cancel).to_be_hidden()
    trip_booker.start()
    booking.expect_state("waiting")
    expect(booking.cancel).to_be_visible()
    page.get_by_role("button", name="Reject").click()
    booking.expect_state("failed")

    expect(booking.cancel).to_be_hidden()
    assert trip_booker.outcomes(booking.booking_id, "airline", "release") == ["released"]
