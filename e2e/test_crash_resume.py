"""The server is killed in the middle of a booking. The page tells, connects again, and the booking completes."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from e2e.booking_page import DROPPED_CONNECTION, BookingPage, note_console_errors
from e2e.trip_booker import TripBooker

IN_SIGHT = pytest.mark.parametrize("trip_booker", [0.3], indirect=True, ids=["some latency"])


LOST_IN_THE_PAYMENT = """
    document.querySelector("#state").textContent === "Connection lost" &&
    document.querySelector(".progress:not([hidden]) [data-step=process-payment]").innerText.includes("last heard:") &&
    document.querySelector("#receipt").innerText.includes("no answer from the bank yet") &&
    document.querySelector("#charges").innerText.includes("when last asked")
"""


def undropped(console_errors: list[str]) -> list[str]:
    """Leave out what a browser says of a server that died, which it did."""
    return [line for line in console_errors if not DROPPED_CONNECTION.search(line)]


@IN_SIGHT
def test_booking_survives_a_kill_after_the_charge(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """A SIGKILL between the charge and its checkpoint costs the client its connection, and nobody a second charge."""
    booking = BookingPage(page)
    booking.switch_on("Kill it during process-payment")

    booking.book()
    booking.expect_state("completed")

    expect(booking.message).to_contain_text("1 crash survived")
    expect(booking.message).to_contain_text("2 finished steps were not run again")
    expect(booking.exchange).to_contain_text("the connection broke")
    expect(booking.charges).to_contain_text("1 charge on the card")
    expect(booking.row("reserve-flight")).to_contain_text("on disk, not run again")
    expect(booking.log).to_contain_text("process-payment runs again: its end was never recorded")
    assert booking.bars("down").count() == 1
    assert booking.bars("died").count() == 1
    assert "killed by SIGKILL" in trip_booker.output
    assert len(trip_booker.processes_of(booking.booking_id)) == 2
    # The step ran twice, for its end was never recorded. The payment provider knew its idempotency key.
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged", "replayed"]
    # The steps before it were memoized, the one after it ran once.
    assert trip_booker.outcomes(booking.booking_id, "airline", "reserve") == ["held"]
    assert len(trip_booker.outcomes(booking.booking_id, "airline", "confirm")) == 1
    assert undropped(console_errors) == []


def test_charge_without_a_key_is_made_twice_and_explained(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """The same crash without the idempotency key: no engine can help, and the page says why."""
    booking = BookingPage(page)
    booking.switch_on("Kill it during process-payment")
    booking.switch_on("Charge without an idempotency key")

    booking.book()
    expect(booking.title).to_have_text("Confirmed, and charged twice")

    expect(booking.charges).to_contain_text("2 charges on the card")
    expect(booking.message).to_contain_text("Without a key the bank could not know")
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged", "charged"]
    assert undropped(console_errors) == []


@IN_SIGHT
def test_server_killed_by_the_button_is_missed_and_found_again(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """The page says that the connection is lost, and not what it cannot know; it goes on when the server is back."""
    booking = BookingPage(page)
    booking.break_step("process-payment", "is slow")

    booking.book()
    booking.as_soon_as_it_runs("process-payment", "document.querySelector('#kill').click()")
    # In each frame: the server is back soon.
    page.wait_for_function(LOST_IN_THE_PAYMENT)
    booking.expect_state("completed")

    expect(booking.receipt).to_contain_text("charged once")
    expect(booking.charges).not_to_contain_text("when last asked")
    expect(booking.message).to_contain_text("1 crash survived")
    expect(booking.row("search-availability")).to_contain_text("on disk, not run again")
    assert trip_booker.outcomes(booking.booking_id, "airline", "reserve") == ["held"]
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge").count("charged") == 1
    assert undropped(console_errors) == []


@IN_SIGHT
def test_booking_completes_with_the_browser_closed(
    browser: Browser, page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """Everything is killed and nobody looks; when the server is back the booking's address shows how it ended."""
    booking = BookingPage(page)
    booking.break_step("process-payment", "is slow")
    booking.book()
    booking.expect_rows("running", "process-payment")
    address, booking_id = page.url, booking.booking_id

    page.close()
    trip_booker.kill()
    trip_booker.start()
    trip_booker.wait_ready()
    with browser.new_context(base_url=trip_booker.url) as context:
        note_console_errors(context, console_errors)
        later = BookingPage(context.new_page(), address)
        later.expect_state("completed")

        expect(later.title).to_have_text("Booking confirmed")
        expect(later.message).to_contain_text("1 crash survived")
        later.expect_rows("completed", "search-availability", "reserve-flight", "process-payment", "confirm-booking")
    assert trip_booker.outcomes(booking_id, "payments", "charge").count("charged") == 1
    assert undropped(console_errors) == []


@IN_SIGHT
def test_reload_and_second_tab_show_the_same_picture(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """The reference is in the address: reloaded in mid-run, and in another tab, the picture is built anew."""
    booking = BookingPage(page)
    booking.break_step("process-payment", "is slow")
    booking.book()
    with page.expect_event("load"):
        booking.as_soon_as_it_runs("process-payment", "location.reload()")
    address = page.url

    second = BookingPage(page.context.new_page(), address)
    booking.expect_state("completed")
    second.expect_state("completed")

    # The last thing that the page reads in the third parties' books.
    expect(booking.receipt).to_contain_text("E-ticket")
    expect(second.receipt).to_contain_text("E-ticket")
    assert booking.picture() == second.picture()
    expect(booking.message).to_have_text("The request was cut off, and the run went on where it was.")
    # The client went away in mid-run, which the run survived by another pass.
    assert re.search("the client went away", booking.log.inner_text())
    assert trip_booker.outcomes(booking.booking_id, "airline", "reserve") == ["held"]
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged"]
    assert console_errors == []


def test_server_killed_while_nothing_runs_books_when_it_is_back(
    page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """The page says what the button did, and a booking that finds no server is made once there is one."""
    booking = BookingPage(page)

    booking.kill.click()
    expect(booking.why).to_contain_text("Killed, while nothing was under way.")
    booking.book()
    expect(booking.why).to_contain_text("Nothing goes wrong by itself")
    booking.expect_state("completed")

    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged"]
    assert undropped(console_errors) == []


def test_address_of_an_unknown_booking_says_so(page: Page, trip_booker: TripBooker) -> None:
    """A reference that nobody knows starts nothing."""
    booking = BookingPage(page, "/?kind=flight&booking=BK-none")

    expect(booking.title).to_have_text("No such booking on this page")
    assert trip_booker.world.calls("BK-none") == []
