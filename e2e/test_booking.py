"""A person books trips in the browser, and nothing worse happens than a step that fails."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Response, expect

from e2e.booking_page import REFUSED_BOOKING, BookingPage
from e2e.trip_booker import TripBooker

STEPS = ("search-availability", "reserve-flight", "process-payment", "confirm-booking")


def responses(page: Page) -> list[tuple[str, int, str]]:
    """Collect the answers that the booking's own requests get: path, status, and what the request accepts."""
    seen: list[tuple[str, int, str]] = []

    def note(response: Response) -> None:
        seen.append((urlsplit(response.url).path, response.status, response.request.headers.get("accept", "")))

    page.on("response", note)
    return seen


def test_booking_is_answered_in_the_same_response(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """When nothing fails, the answer to the request itself is the booking: no redirect, four green steps."""
    booking = BookingPage(page)
    seen = responses(page)

    booking.book()
    booking.expect_state("completed")
    expect(booking.exchange).to_contain_text("200, in the same response, no redirect")

    booking.expect_rows("completed", *STEPS)
    booking.expect_rows("pending", "refund-payment", "release-seat")
    expect(booking.title).to_have_text("Booking confirmed")
    expect(booking.receipt).to_contain_text("charged once")
    expect(booking.charges).to_contain_text("1 charge on the card")
    plain = [(path, status) for path, status, accept in seen if path == "/api/booking" and "event-stream" not in accept]
    assert plain == [("/api/booking", 200)]
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged"]
    assert console_errors == []


def test_retried_step_is_shown_and_ends_behind_a_redirect(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """When a step fails and is retried, the request is redirected to the wait URL, and the page shows why."""
    booking = BookingPage(page)
    seen = responses(page)
    booking.choose("Rough day")

    booking.book()
    booking.expect_state("completed")
    expect(booking.exchange).to_contain_text("200, by a redirect to the URL that waits")

    expect(booking.log).to_contain_text("reserve-flight failed at attempt 1")
    expect(booking.log).to_contain_text("Not run again, taken from disk: search-availability")
    expect(booking.row("reserve-flight")).to_contain_text("attempt 3")
    expect(booking.row("search-availability")).to_contain_text("on disk, not run again")
    assert booking.bars("failed").count() == 2
    plain = [(path, status) for path, status, accept in seen if "event-stream" not in accept]
    assert ("/api/booking", 303) in plain
    reserved = trip_booker.outcomes(booking.booking_id, "airline", "reserve")
    assert reserved == ["SEAT_LOCK_TIMEOUT", "SEAT_LOCK_TIMEOUT", "held"]
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged"]
    assert console_errors == []


def test_declined_card_costs_nothing_and_gives_the_seat_back(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """The card of the error says what happened to the money and the seat."""
    booking = BookingPage(page)
    booking.break_step("process-payment", "fails always")

    booking.book()
    booking.expect_state("failed")

    expect(booking.title).to_have_text("Not booked")
    expect(booking.message).to_contain_text("the bank declined the card")
    expect(booking.receipt).to_contain_text("nothing was charged")
    expect(booking.receipt).to_contain_text("given back")
    booking.expect_rows("failed", "process-payment")
    booking.expect_rows("completed", "release-seat")
    booking.expect_rows("pending", "confirm-booking", "refund-payment")
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["CARD_DECLINED"]
    assert trip_booker.outcomes(booking.booking_id, "airline", "release") == ["released"]
    assert [line for line in console_errors if not REFUSED_BOOKING.search(line)] == []


def test_code_panel_marks_the_line_of_each_step(page: Page) -> None:
    """Of two lines with the same step ID, the one that ran is marked: below the payment that failed."""
    booking = BookingPage(page)
    booking.break_step("process-payment", "fails always")

    booking.book()
    booking.expect_state("failed")

    states = "lines => lines.map(line => line.dataset.state)"
    assert booking.lines("process-payment").evaluate_all(states) == ["failed"]
    assert booking.lines("release-seat").evaluate_all(states) == ["completed", "pending"]
    assert booking.lines("confirm-booking").evaluate_all(states) == ["pending"]
    expect(booking.lines("process-payment")).to_contain_text('await step.run("process-payment", charge_card')


def test_double_click_is_one_booking(page: Page, trip_booker: TripBooker, console_errors: list[str]) -> None:
    """Two requests with one Idempotency-Key are one run; the page says so."""
    booking = BookingPage(page)

    booking.book(clicks=2)
    booking.expect_state("completed")

    expect(booking.exchange).to_contain_text("sent 2 times with one Idempotency-Key: one booking")
    booking_id = booking.booking_id
    assert trip_booker.outcomes(booking_id, "airline", "reserve") == ["held"]
    assert trip_booker.outcomes(booking_id, "payments", "charge") == ["charged"]
    assert console_errors == []


def test_next_booking_is_another_one(page: Page, trip_booker: TripBooker) -> None:
    """Once a booking has ended, the same button books again, under a new reference and with an empty picture."""
    booking = BookingPage(page)
    booking.book()
    booking.expect_state("completed")
    first = booking.booking_id

    page.get_by_role("button", name="Book this trip").click()
    expect(page.locator("#reference")).not_to_have_text(first)
    booking.expect_state("completed")

    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged"]
    assert trip_booker.outcomes(first, "payments", "charge") == ["charged"]
    assert len(re.findall("Run accepted", booking.log.inner_text())) == 1


def test_another_kind_leaves_the_booking_behind(page: Page) -> None:
    """The address shows no booking that the page does not; the way back shows it again."""
    booking = BookingPage(page)
    booking.book()
    booking.expect_state("completed")
    booking_id = booking.booking_id

    booking.choose("Tour")
    expect(page.locator("#reference")).to_have_text("none yet")
    page.reload()
    expect(page.locator("#reference")).to_have_text("none yet")
    expect(page.get_by_role("radio", name="Tour")).to_be_checked()
    page.go_back()

    expect(page.locator("#reference")).to_have_text(booking_id)
    booking.expect_state("completed")


@pytest.mark.parametrize("settings", [{"java_script_enabled": False}], ids=["without JavaScript"])
def test_form_books_without_javascript(page: Page, trip_booker: TripBooker) -> None:
    """As the page says then: the plain JSON of a flight, under the reference that the server has made up."""
    page.goto("/")
    page.get_by_role("button", name="Book this trip").click()
    page.wait_for_url("**/api/booking?*")

    booked = json.loads(page.locator("pre").inner_text())
    assert booked["success"]
    assert trip_booker.outcomes(booked["bookingId"], "payments", "charge") == ["charged"]
