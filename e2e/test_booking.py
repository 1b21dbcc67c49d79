"""A person books a trip in the browser, and nothing worse happens than a step that must be tried again."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from e2e.booking_page import BookingPage
from e2e.trip_booker import TripBooker


def test_booking_is_confirmed_in_one_response(page: Page, trip_booker: TripBooker, console_errors: list[str]) -> None:
    """When nothing fails, the answer to the request itself is the booking."""
    booking = BookingPage(page)

    booking.submit()
    expect(booking.outcome).to_have_attribute("data-state", "confirmed")

    expect(booking.message).to_have_text(f"Booking {booking.booking_id} is confirmed.")
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged"]
    assert console_errors == []


def test_retried_step_ends_in_a_redirect_to_the_same_answer(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """When a step fails and is retried, the browser follows the redirect and shows the booking all the same."""
    booking = BookingPage(page)
    booking.fail("reserve-flight", "Fails twice, then works")

    booking.submit()
    expect(booking.outcome).to_have_attribute("data-state", "confirmed")

    expect(booking.message).to_contain_text("the answer came by a redirect")
    reserved = trip_booker.outcomes(booking.booking_id, "airline", "reserve")
    assert reserved == ["SEAT_LOCK_TIMEOUT", "SEAT_LOCK_TIMEOUT", "held"]
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged"]
    assert console_errors == []
