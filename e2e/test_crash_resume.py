"""The server is killed in the middle of a payment, and the booking completes by itself."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from e2e.booking_page import BookingPage
from e2e.trip_booker import TripBooker

DROPPED_CONNECTION = re.compile(
    r"net::ERR_(EMPTY_RESPONSE|CONNECTION_(RESET|REFUSED|CLOSED|ABORTED)|SOCKET_NOT_CONNECTED)"
)


def test_booking_survives_a_kill_after_the_charge(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """A SIGKILL between the charge and its checkpoint costs the client its connection, and nobody a second charge."""
    booking = BookingPage(page)
    booking.crash("process-payment")

    booking.submit()
    expect(booking.outcome).to_have_attribute("data-state", "confirmed")

    expect(booking.message).to_contain_text("The card was charged once")
    assert "killed by SIGKILL" in trip_booker.output
    assert len(trip_booker.processes_of(booking.booking_id)) == 2
    # The step ran twice, for its end was never recorded. The payment provider knew its idempotency key.
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged", "replayed"]
    # The steps before it were memoized, the one after it ran once.
    assert trip_booker.outcomes(booking.booking_id, "airline", "reserve") == ["held"]
    assert len(trip_booker.outcomes(booking.booking_id, "airline", "confirm")) == 1
    assert [error for error in console_errors if not DROPPED_CONNECTION.search(error)] == []
