from __future__ import annotations

from trip_booker import airline, cars, hotels, notifications, payments
from trip_booker.ledger import summary, table
from trip_booker.trips import Trip
from trip_booker.world import Entry, World


async def reserve(key: str = "key") -> airline.Reservation:
    found = await airline.search("BK-1", Trip(origin="NYC", destination="LAX", date="2026-12-24"))
    return await airline.reserve("BK-1", found["flights"][0], idempotency_key=key)


async def test_summary_of_an_unheard_booking_is_unknown(world: World) -> None:
    """A booking nobody was called for has no state."""
    assert summary("BK-1", world.calls("BK-1"))["status"] == "unknown"


async def test_summary_of_a_charged_seat_is_in_progress(world: World) -> None:
    """Without a ticket a booking has not ended, and a repeated charge is one charge."""
    seat = await reserve()
    await payments.charge("BK-1", seat["price"], idempotency_key="key")
    payment = await payments.charge("BK-1", seat["price"], idempotency_key="key")

    known = summary("BK-1", world.calls("BK-1"))
    assert known["status"] == "in_progress"
    assert known["reservations"] == [{**seat, "status": "held"}]
    assert known["charges"] == [{**payment, "status": "charged"}]
    assert known["confirmation"] is None


async def test_summary_of_a_ticketed_seat_is_confirmed(world: World) -> None:
    """The ticket ends the booking, and is told."""
    seat = await reserve()
    ticket = await airline.confirm("BK-1", seat, "pay_1")

    known = summary("BK-1", world.calls("BK-1"))
    assert known["status"] == "confirmed"
    assert known["reservations"][0]["status"] == "ticketed"
    assert known["confirmation"] == ticket


async def test_summary_of_a_released_and_refunded_seat_is_cancelled(world: World) -> None:
    """What was taken and given back is shown as given back."""
    seat = await reserve()
    payment = await payments.charge("BK-1", seat["price"], idempotency_key="key")
    await payments.refund("BK-1", payment)
    await airline.release("BK-1", seat)

    known = summary("BK-1", world.calls("BK-1"))
    assert known["status"] == "cancelled"
    assert known["reservations"][0]["status"] == "released"
    assert known["charges"][0]["status"] == "refunded"


async def test_summary_of_one_seat_of_two_released_is_in_progress(world: World) -> None:
    """A booking has not ended as long as a seat is held."""
    seat = await reserve()
    await reserve("other key")
    await airline.release("BK-1", seat)

    assert summary("BK-1", world.calls("BK-1"))["status"] == "in_progress"


async def test_summary_of_a_package_is_confirmed_with_its_message(world: World) -> None:
    """Three bookings are in progress until the traveller is told of them."""
    flight = await airline.book("BK-1", "SB418", idempotency_key="flight")
    room = await hotels.book("BK-1", "plaza", idempotency_key="hotel")
    car = await cars.book("BK-1", "mini", idempotency_key="car")
    before = summary("BK-1", world.calls("BK-1"))
    await notifications.send_confirmation("BK-1", flight, room, car)

    known = summary("BK-1", world.calls("BK-1"))
    assert (before["status"], known["status"]) == ("in_progress", "confirmed")
    assert known["bookings"] == [
        {"service": "airline", **flight, "status": "booked"},
        {"service": "hotels", **room, "status": "booked"},
        {"service": "cars", **car, "status": "booked"},
    ]


async def test_summary_of_a_package_given_back_is_cancelled(world: World) -> None:
    """It has ended when the last part of it is given back."""
    flight = await airline.book("BK-1", "SB418", idempotency_key="flight")
    car = await cars.book("BK-1", "mini", idempotency_key="car")
    await airline.cancel("BK-1", flight)
    before = summary("BK-1", world.calls("BK-1"))
    await cars.cancel("BK-1", car)

    known = summary("BK-1", world.calls("BK-1"))
    assert (before["status"], known["status"]) == ("in_progress", "cancelled")
    assert [booking["status"] for booking in known["bookings"]] == ["cancelled", "cancelled"]


async def test_summary_of_a_tour_is_confirmed_with_its_payment(world: World) -> None:
    """Nobody is told of a tour: it has ended when all of it is paid."""
    flight = await airline.book("BK-1", "SB418", idempotency_key="flight")
    before = summary("BK-1", world.calls("BK-1"))
    await payments.charge("BK-1", flight["price"], idempotency_key="charge")

    assert before["status"] == "in_progress"
    assert summary("BK-1", world.calls("BK-1"))["status"] == "confirmed"


def test_table_has_a_line_for_each_call_in_columns() -> None:
    """Columns are as wide as their widest cell, and no line ends in blanks."""

    def entry(pid: int, service: str, action: str, outcome: str) -> Entry:
        return Entry("2026-12-24T12:00:00.000+00:00", pid, service, action, "BK-1", None, outcome, None)

    calls = [entry(42, "payments", "charge", "charged"), entry(12345678, "notifications", "send-ticket", "sent")]

    assert table(calls) == (
        "process   service        action       outcome\n"
        "42        payments       charge       charged\n"
        "12345678  notifications  send-ticket  sent\n"
    )
