"""The fakes, called as their providers' clients would be: no endpoint, no run, no step."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from inngest_durable import NonRetriableError
from trip_booker import accounts, airline, cars, chaos, hotels, notifications, payments, processing, settings
from trip_booker.chaos import Switches
from trip_booker.trips import Trip
from trip_booker.world import World

T = TypeVar("T")

TRIP = Trip(origin="NYC", destination="LAX", date="2026-12-24")

CHARGE_AND_DIE = """\
import asyncio
from trip_booker import chaos, payments

chaos.switch_on(chaos.Switches(crashes=frozenset({"process-payment"})))
print(asyncio.run(payments.charge("BK-1", 100, idempotency_key="key"))["paymentId"])
"""


def outcomes(world: World, service: str, action: str) -> list[str]:
    return [call.outcome for call in world.calls("BK-1") if (call.service, call.action) == (service, action)]


async def a_flight() -> airline.Flight:
    return (await airline.search("BK-1", TRIP))["flights"][0]


ERRORS = (
    accounts.DirectoryError,
    airline.AirlineError,
    cars.CarRentalError,
    hotels.HotelError,
    notifications.MailError,
    payments.PaymentError,
    processing.ProcessingError,
)


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Make *call*, and once more if it failed."""
    try:
        return await call()
    except ERRORS:
        return await call()


async def all_calls() -> None:
    """Make every call of every endpoint."""
    await calls_of_a_booking()
    await calls_of_a_package()
    await calls_of_an_order()


async def calls_of_a_booking() -> None:
    found = await insist(lambda: airline.search("BK-1", TRIP))
    seat = await insist(lambda: airline.reserve("BK-1", found["flights"][0], idempotency_key="key"))
    payment = await insist(lambda: payments.charge("BK-1", seat["price"], idempotency_key="key"))
    await insist(lambda: airline.confirm("BK-1", seat, payment["paymentId"]))
    await insist(lambda: payments.refund("BK-1", payment))
    await insist(lambda: airline.release("BK-1", seat))


async def calls_of_a_package() -> None:
    flight = await insist(lambda: airline.book("BK-1", "SB418", idempotency_key="flight"))
    room = await insist(lambda: hotels.book("BK-1", "plaza", idempotency_key="hotel"))
    car = await insist(lambda: cars.book("BK-1", "mini", idempotency_key="car"))
    await insist(lambda: notifications.send_confirmation("BK-1", flight, room, car))
    await insist(lambda: airline.cancel("BK-1", flight))
    await insist(lambda: hotels.cancel("BK-1", room))
    await insist(lambda: cars.cancel("BK-1", car))


async def calls_of_an_order() -> None:
    await insist(lambda: accounts.find("BK-1"))
    result = await insist(lambda: processing.process("BK-1", {}, idempotency_key="process"))
    await insist(lambda: notifications.notify("BK-1", result))


async def test_search_finds_the_same_flights_for_the_same_trip(world: World) -> None:
    """The timetable depends on the trip alone, and its cheapest flight is not the first."""
    first = await airline.search("BK-1", TRIP)
    second = await airline.search("BK-2", TRIP)

    prices = [flight["price"] for flight in first["flights"]]
    assert first == second
    assert first["trip"] == TRIP
    assert min(prices) != prices[0]


async def test_search_without_a_date_is_for_today(world: World) -> None:
    """The answer says which day it is for, so that whoever keeps the answer keeps the day."""
    days = {datetime.now(UTC).date().isoformat()}
    found = await airline.search("BK-1", Trip(origin="NYC", destination="LAX", date=None))
    days.add(datetime.now(UTC).date().isoformat())

    assert found["trip"]["date"] in days
    assert {flight["date"] for flight in found["flights"]} == {found["trip"]["date"]}


async def test_seat_is_held_once_per_key(world: World) -> None:
    """Asked again with the same key, the airline names the seat it holds already."""
    flight = await a_flight()
    first = await airline.reserve("BK-1", flight, idempotency_key="key")
    again = await airline.reserve("BK-1", flight, idempotency_key="key")
    other = await airline.reserve("BK-1", flight, idempotency_key="other key")

    assert again == first
    assert other["reservationId"] != first["reservationId"]
    assert outcomes(world, "airline", "reserve") == ["held", "replayed", "held"]


async def test_card_is_charged_once_per_key(world: World) -> None:
    """Asked again with the same key, the provider answers the first charge."""
    first = await payments.charge("BK-1", 100, idempotency_key="key")
    again = await payments.charge("BK-1", 100, idempotency_key="key")

    assert again == first
    assert outcomes(world, "payments", "charge") == ["charged", "replayed"]


async def test_ticket_mail_and_repayments_happen_once_per_thing(world: World) -> None:
    """A seat has one ticket, a ticket one mail, a charge one refund, and a seat is given back once."""
    seat = await airline.reserve("BK-1", await a_flight(), idempotency_key="key")
    payment = await payments.charge("BK-1", seat["price"], idempotency_key="key")
    for _ in range(2):
        ticket = await airline.confirm("BK-1", seat, payment["paymentId"])
        await notifications.send_ticket("BK-1", ticket)
        await payments.refund("BK-1", payment)
        await airline.release("BK-1", seat)

    assert outcomes(world, "airline", "confirm") == ["ticketed", "replayed"]
    assert outcomes(world, "notifications", "send-ticket") == ["sent", "replayed"]
    assert outcomes(world, "payments", "refund") == ["refunded", "replayed"]
    assert outcomes(world, "airline", "release") == ["released", "replayed"]


async def test_parts_of_a_package_are_booked_and_cancelled_once_per_key(world: World) -> None:
    """Asked again, each third party answers what it did the first time; the traveller gets one message."""
    for _ in range(2):
        await calls_of_a_package()

    for service in ("airline", "hotels", "cars"):
        assert outcomes(world, service, "book") == ["booked", "replayed"]
        assert outcomes(world, service, "cancel") == ["cancelled", "replayed"]
    assert outcomes(world, "notifications", "send-confirmation") == ["sent", "replayed"]


@pytest.mark.parametrize(
    ("step", "book", "code"),
    [
        ("book-flight", airline.book, "FLIGHT_FULL"),
        ("book-hotel", hotels.book, "NO_ROOM"),
        ("book-car", cars.book, "NO_CAR"),
    ],
)
async def test_part_that_is_sold_out_is_refused_for_good(
    step: str, book: Callable[..., Awaitable[object]], code: str, world: World
) -> None:
    """A lasting failure is an answer, which nobody should retry."""
    chaos.switch_on(Switches({step: math.inf}))

    with pytest.raises(NonRetriableError, match=rf"^{code}: "):
        await book("BK-1", "SB418", idempotency_key="key")


async def test_data_is_processed_and_told_once_per_key(world: World) -> None:
    """The same user has the same account; a repeated key gets the first result, and one message about it."""
    first = await accounts.find("ada")
    assert await accounts.find("ada") == first
    assert (await accounts.find("bob"))["accountId"] != first["accountId"]

    results = [await processing.process("BK-1", {"n": n}, idempotency_key="key") for n in range(2)]
    for result in results:
        await notifications.notify("BK-1", result)

    assert results[0] == results[1]
    assert results[0]["data"] == {"n": 0}
    assert outcomes(world, "processing", "process") == ["processed", "replayed"]
    assert outcomes(world, "notifications", "notify") == ["sent", "replayed"]


async def test_reservation_fails_as_often_as_it_is_told_to(world: World) -> None:
    """Two failed calls are recorded with their code, and the third one works."""
    flight = await a_flight()
    chaos.switch_on(Switches({"reserve-flight": 2}))
    for _ in range(2):
        with pytest.raises(airline.AirlineError, match=r"^SEAT_LOCK_TIMEOUT: "):
            await airline.reserve("BK-1", flight, idempotency_key="key")
    await airline.reserve("BK-1", flight, idempotency_key="key")

    assert outcomes(world, "airline", "reserve") == ["SEAT_LOCK_TIMEOUT", "SEAT_LOCK_TIMEOUT", "held"]


async def test_payment_that_always_fails_is_declined_for_good(world: World) -> None:
    """A lasting failure of the card is the bank's answer, which nobody should retry."""
    chaos.switch_on(Switches({"process-payment": math.inf}))

    with pytest.raises(NonRetriableError, match=r"^CARD_DECLINED: "):
        await payments.charge("BK-1", 100, idempotency_key="key")
    assert outcomes(world, "payments", "charge") == ["CARD_DECLINED"]


async def test_payment_that_fails_sometimes_may_be_retried(world: World) -> None:
    """A passing failure of the gateway is not a decline."""
    chaos.switch_on(Switches({"process-payment": 1}))

    with pytest.raises(payments.PaymentError, match=r"^GATEWAY_TIMEOUT: "):
        await payments.charge("BK-1", 100, idempotency_key="key")


def test_crash_comes_after_the_charge_and_only_once(world: World) -> None:
    """The process dies by SIGKILL with the card charged; the next one with the same key learns of that charge."""
    command = [sys.executable, "-c", CHARGE_AND_DIE]
    died = subprocess.run(command, capture_output=True, text=True, check=False)
    lived = subprocess.run(command, capture_output=True, text=True, check=True)

    first, again = world.calls("BK-1")
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, "")
    assert (first.outcome, again.outcome) == ("charged", "replayed")
    assert first.result is not None
    assert lived.stdout.strip() == first.result["paymentId"]


@pytest.mark.parametrize("step", chaos.CALLS)
async def test_every_switch_reaches_the_call_of_its_step(step: str, world: World) -> None:
    """Each step of the table can be made to fail, and then it is the only one that does."""
    chaos.switch_on(Switches({step: 1}))
    await all_calls()

    failed = [(call.service, call.action) for call in world.calls("BK-1") if call.result is None]
    assert failed == [chaos.CALLS[step]]


@pytest.mark.parametrize("text", ["fast", "-1", "nan", "inf"])
def test_unusable_speed_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A latency factor that makes no sense is an error that names the variable."""
    monkeypatch.setenv("TRIP_BOOKER_SPEED", text)

    with pytest.raises(ValueError, match="TRIP_BOOKER_SPEED"):
        settings.speed()
