"""Every entry of the page: what it shows of a pattern, and what the third parties received."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from e2e.booking_page import DROPPED_CONNECTION, REFUSED_BOOKING, BookingPage
from e2e.trip_booker import TripBooker

PARTS = ("airline", "hotels", "cars")


def test_package_books_side_by_side_and_asks_only_the_hotel_again(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """The three steps begin together; flight and car are not booked a second time when the hotel is."""
    booking = BookingPage(page)
    booking.choose("Package")

    booking.book()
    booking.expect_state("completed")

    booking.expect_rows("completed", "book-flight", "book-hotel", "book-car", "send-confirmation")
    expect(booking.receipt).to_contain_text(re.compile(r"\$\d+, not charged yet"))
    booked = {service: trip_booker.outcomes(booking.booking_id, service, "book") for service in PARTS}
    assert booked == {"airline": ["booked"], "hotels": ["HOTEL_TIMEOUT", "booked"], "cars": ["booked"]}
    assert console_errors == []


def test_package_without_a_room_gives_flight_and_car_back(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """All three or none: what was booked side by side is cancelled."""
    booking = BookingPage(page)
    booking.choose("Package")
    booking.break_step("book-hotel", "fails always")

    booking.book()
    booking.expect_state("failed")

    expect(booking.message).to_contain_text("the hotel has no room left")
    booking.expect_rows("completed", "cancel-flight", "cancel-car")
    booking.expect_rows("pending", "cancel-hotel", "send-confirmation")
    for service in ("airline", "cars"):
        assert trip_booker.outcomes(booking.booking_id, service, "book") == ["booked"]
        assert trip_booker.outcomes(booking.booking_id, service, "cancel") == ["cancelled"]
    assert trip_booker.outcomes(booking.booking_id, "hotels", "cancel") == []
    assert [line for line in console_errors if not REFUSED_BOOKING.search(line)] == []


def test_tour_is_undone_in_reverse(page: Page, trip_booker: TripBooker, console_errors: list[str]) -> None:
    """The saga takes back what it had booked, the last thing first, and the page says that nothing is left to pay."""
    booking = BookingPage(page)
    booking.choose("Tour")

    booking.book()
    booking.expect_state("failed")

    booking.expect_rows("failed", "process-payment")
    booking.expect_rows("completed", "cancel-car", "cancel-hotel", "cancel-flight")
    expect(booking.receipt).to_contain_text("cancelled, nothing to pay")
    calls = [(call.service, call.action) for call in trip_booker.world.calls(booking.booking_id)]
    assert [service for service, action in calls if action == "cancel"] == ["cars", "hotels", "airline"]
    assert [line for line in console_errors if not REFUSED_BOOKING.search(line)] == []


def test_approved_trip_is_paid_and_confirmed(page: Page, trip_booker: TripBooker, console_errors: list[str]) -> None:
    """The run waits for a person, who presses a button."""
    booking = BookingPage(page)
    booking.choose("Over budget")
    booking.book()
    booking.expect_state("waiting")
    booking.expect_rows("waiting", "wait-for-approval")
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == []

    page.get_by_role("button", name="Approve").click()
    booking.expect_state("completed")

    expect(booking.message).to_have_text("It waited with nothing in memory, and went on where it was.")
    booking.expect_rows("completed", "wait-for-approval", "process-payment", "confirm-booking")
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged"]
    assert console_errors == []


def test_rejected_trip_gives_the_seat_back(page: Page, trip_booker: TripBooker, console_errors: list[str]) -> None:
    """Nothing is charged, and the card says so."""
    booking = BookingPage(page)
    booking.choose("Over budget")
    booking.book()

    page.get_by_role("button", name="Reject").click()
    booking.expect_state("failed")

    booking.expect_rows("completed", "wait-for-approval", "release-seat")
    expect(booking.row("wait-for-approval")).to_contain_text("rejected")
    expect(booking.receipt).to_contain_text("nothing was charged")
    expect(booking.receipt).to_contain_text("given back")
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == []
    assert [line for line in console_errors if not REFUSED_BOOKING.search(line)] == []


def test_trip_that_nobody_decides_about_gives_the_seat_back(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """The time to decide runs out by itself: the seat is given back, and the page says why, also reloaded."""
    booking = BookingPage(page)
    booking.choose("Over budget")
    page.get_by_label("Boss decides within").select_option(label="5 seconds")
    booking.book()
    booking.expect_state("waiting")
    expect(booking.row("wait-for-approval")).to_contain_text(re.compile(r"0:0[1-5] left"))
    assert trip_booker.outcomes(booking.booking_id, "airline", "release") == []

    booking.expect_state("failed")
    page.reload()
    booking.expect_state("failed")

    expect(booking.message).to_contain_text("which is over the budget of $100, and nobody decided.")
    expect(booking.receipt).to_contain_text("nothing was charged")
    expect(booking.receipt).to_contain_text("given back")
    booking.expect_rows("completed", "wait-for-approval", "release-seat")
    booking.expect_rows("pending", "process-payment", "confirm-booking")
    outcomes = [call.outcome for call in trip_booker.world.calls(booking.booking_id)]
    assert outcomes == ["found", "held", "released"]
    assert [line for line in console_errors if not REFUSED_BOOKING.search(line)] == []


def test_hold_is_a_countdown_that_outlives_the_server(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """While a seat is held nothing is in memory: killed in the middle, the server gives it back in time."""
    booking = BookingPage(page)
    booking.choose("Hold a seat")
    page.get_by_label("Hold for").select_option(label="5 seconds")
    booking.book()
    booking.expect_state("waiting")
    expect(page.locator("#countdown")).to_have_text(re.compile(r"0:0[1-5]"))

    booking.kill.click()
    booking.expect_state("completed")

    expect(booking.title).to_have_text("Held, and given back in time")
    expect(booking.message).to_contain_text("in between it was only on disk")
    assert trip_booker.outcomes(booking.booking_id, "airline", "reserve") == ["held"]
    assert trip_booker.outcomes(booking.booking_id, "airline", "release") == ["released"]
    assert len(trip_booker.processes_of(booking.booking_id)) == 2
    assert [line for line in console_errors if not DROPPED_CONNECTION.search(line)] == []
