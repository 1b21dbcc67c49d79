"""The car rental, faked: rents cars out and takes bookings back. Its memory is the outside world, not this process."""

from __future__ import annotations

import secrets
from typing import TypedDict
from zlib import crc32

from inngest_durable import NonRetriableError

from trip_booker.third_party import Fault, ask
from trip_booker.world import Call


class CarRentalError(Exception):
    """The car rental could not do it this time; it may well work the next time."""


class NoCarError(NonRetriableError):
    """Every car is rented out. That is an answer, not a fault: asking again cannot help."""


RENTAL_TIMEOUT = Fault(CarRentalError, "RENTAL_TIMEOUT", "the car rental did not answer in time")
NO_CAR = Fault(NoCarError, "NO_CAR", "the car rental has no car left")
CANCEL_TIMEOUT = Fault(CarRentalError, "CANCEL_TIMEOUT", "the car rental did not answer the cancellation in time")


class Rental(TypedDict):
    """A rented car; the price is in whole dollars."""

    reference: str
    carId: str
    price: int


class Cancellation(TypedDict):
    """A car given back."""

    reference: str


async def book(booking_id: str, car_id: str, *, idempotency_key: str) -> Rental:
    """Rent a car; the same key gets the same car."""
    call = Call("cars", "book", booking_id, idempotency_key)
    price = 30 + crc32(car_id.encode()) % 90
    rental = Rental(reference=f"C-{secrets.token_hex(6)}", carId=car_id, price=price)
    return await ask(
        call,
        outcome="booked",
        result=rental,
        seconds=0.9,
        fault=RENTAL_TIMEOUT,
        lasting=NO_CAR,
        says=(f"Asking for car {car_id}", f"Car rented for ${price}"),
    )


async def cancel(booking_id: str, rental: Rental) -> Cancellation:
    """Give a car back; giving it back twice is the same."""
    call = Call("cars", "cancel", booking_id, rental["reference"])
    cancelled = Cancellation(reference=rental["reference"])
    return await ask(
        call,
        outcome="cancelled",
        result=cancelled,
        seconds=0.7,
        fault=CANCEL_TIMEOUT,
        says=("Cancelling the car", "Car cancelled"),
    )
