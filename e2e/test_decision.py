"""A person decides: a decision that does not arrive is not taken for made, and many tabs leave room for one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from e2e.booking_page import BookingPage
from e2e.trip_booker import ALONE, TripBooker

# Whether this tab is looked at, which no test browser says by itself.
TURN = """hidden => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
# How many connections a browser has to one server, for all of its tabs.
CONNECTIONS = 6


def waiting(page: Page) -> BookingPage:
    """Book a trip that has to be approved, and wait until it waits."""
    booking = BookingPage(page)
    booking.choose("Over budget")
    booking.book()
    booking.expect_state("waiting")
    return booking


def expect_asked_again(booking: BookingPage, trip_booker: TripBooker) -> None:
    """The page says that nothing was decided, and the next decision is made."""
    expect(booking.message).to_contain_text("did not confirm that decision")
    expect(booking.reject).to_be_visible()
    expect(booking.approve).to_be_visible()
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == []

    booking.approve.click()
    booking.expect_state("completed")
    assert trip_booker.outcomes(booking.booking_id, "payments", "charge") == ["charged"]


def refused(route: Route) -> None:
    """Answer as a proxy does in front of a server that is away."""
    route.fulfill(status=503, body="away")


def broken(route: Route) -> None:
    """Lose the connection."""
    route.abort()


@pytest.mark.parametrize("answer", [refused, broken])
def test_decision_that_does_not_arrive_is_asked_for_again(
    answer: Callable[[Route], None], page: Page, trip_booker: TripBooker, console_errors: list[str]
) -> None:
    """The page says so, and the buttons come back."""
    booking = waiting(page)
    page.route("**/decision", answer)

    booking.approve.click()
    expect(booking.message).to_contain_text("did not confirm that decision")
    page.unroute("**/decision")

    expect_asked_again(booking, trip_booker)
    # What the browser says of that request, no test expects elsewhere.
    console_errors[:] = [line for line in console_errors if "/decision" not in line]


@pytest.mark.parametrize("program", [ALONE], ids=["without a supervisor"])
def test_decision_lost_with_its_server_is_asked_for_again(page: Page, trip_booker: TripBooker) -> None:
    """The server hears nothing any more, is killed, and comes back: no page says that it has approved."""
    booking = waiting(page)
    [pid] = trip_booker.processes_of(booking.booking_id)
    os.kill(pid, signal.SIGSTOP)

    with page.expect_request("**/decision"):
        booking.approve.click()
    expect(booking.approve).to_be_hidden()
    trip_booker.kill()
    booking.expect_state("lost")
    trip_booker.start()
    booking.expect_state("waiting")

    expect_asked_again(booking, trip_booker)


@pytest.mark.parametrize("program", [ALONE], ids=["without a supervisor"])
def test_time_to_decide_is_over_while_nobody_is_there(page: Page, trip_booker: TripBooker) -> None:
    """Past the deadline the page says so, until a server is back and gives the seat back."""
    booking = BookingPage(page)
    booking.choose("Over budget")
    page.get_by_label("Boss decides within").select_option(label="5 seconds")
    booking.book()
    booking.expect_state("waiting")

    trip_booker.kill()
    expect(booking.row("wait-for-approval")).to_contain_text("waits for an event, its time is over")
    trip_booker.start()
    booking.expect_state("failed")

    expect(booking.row("wait-for-approval")).to_contain_text("nobody decided in time")
    assert trip_booker.outcomes(booking.booking_id, "airline", "release") == ["released"]


def test_each_tab_that_waits_holds_one_connection(page: Page, trip_booker: TripBooker) -> None:
    """All in sight, each with a booking of its own: there is a connection left to load the last one and to decide."""
    tabs = [waiting(each) for each in [page, *(page.context.new_page() for _ in range(CONNECTIONS - 2))]]

    tabs[0].approve.click()
    tabs[0].expect_state("completed")
    expect(tabs[0].exchange).to_contain_text("200, by a redirect to the URL that waits")

    assert trip_booker.outcomes(tabs[0].booking_id, "payments", "charge") == ["charged"]


def test_tabs_that_nobody_looks_at_hold_no_connection(page: Page) -> None:
    """However many show one booking: the decision is made, and each tells the end once it is looked at."""
    first = waiting(page)
    page.evaluate(TURN, True)
    others = []
    for _ in range(CONNECTIONS):
        other = page.context.new_page()
        shown = BookingPage(other, page.url)
        shown.expect_state("waiting")
        other.evaluate(TURN, True)
        others.append((other, shown))

    page.evaluate(TURN, False)
    first.approve.click()
    first.expect_state("completed")
    for other, shown in others:
        shown.expect_state("waiting")
        other.evaluate(TURN, False)
        shown.expect_state("completed")

    assert [shown.picture()["log"] for _, shown in others] == [first.picture()["log"]] * CONNECTIONS
