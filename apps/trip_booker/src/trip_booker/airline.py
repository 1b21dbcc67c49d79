"""The airline, faked: finds flights, holds and books seats, issues tickets. Its memory is the outside world."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TypedDict
from zlib import crc32

from inngest_durable import NonRetriableError

from trip_booker.third_party import Fault, ask
from trip_booker.trips import Trip
from trip_booker.world import Call

# Letters and digits that nobody mixes up on the phone.
LOCATOR = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class AirlineError(Exception):
    """The airline could not do it this time; it may well work the next time."""


class FlightFullError(NonRetriableError):
    """Every seat is sold. That is an answer, not a fault: asking again cannot help."""


SEARCH_TIMEOUT = Fault(AirlineError, "SEARCH_TIMEOUT", "the airline did not answer the search in time")
SEAT_LOCK_TIMEOUT = Fault(AirlineError, "SEAT_LOCK_TIMEOUT", "the seat is locked by another traveller's session")
TICKETING_DOWN = Fault(AirlineError, "TICKETING_DOWN", "the ticketing system is down")
RELEASE_TIMEOUT = Fault(AirlineError, "RELEASE_TIMEOUT", "the airline did not answer the release in time")
BOOKING_TIMEOUT = Fault(AirlineError, "BOOKING_TIMEOUT", "the airline did not answer the booking in time")
FLIGHT_FULL = Fault(FlightFullError, "FLIGHT_FULL", "the flight has no seat left")
CANCEL_TIMEOUT = Fault(AirlineError, "CANCEL_TIMEOUT", "the airline did not answer the cancellation in time")


class Flight(TypedDict):
    """A flight with a free seat; prices are whole dollars."""

    flightNumber: str
    origin: str
    destination: str
    date: str
    departs: str
    arrives: str
    seat: str
    price: int


class Availability(TypedDict):
    """The answer to a search: at least one flight, in order of departure."""

    trip: Trip
    flights: list[Flight]


class Reservation(TypedDict):
    """A held seat."""

    reservationId: str
    pnr: str
    flight: Flight
    price: int


class Confirmation(TypedDict):
    """An issued ticket."""

    confirmationNumber: str
    reservationId: str
    paymentId: str
    pnr: str
    eTicket: str


class Release(TypedDict):
    """A seat given back."""

    reservationId: str


class FlightBooking(TypedDict):
    """A seat of a package: booked and ticketed in one go, on a flight that the traveller has chosen."""

    reference: str
    flightId: str
    price: int


class Cancellation(TypedDict):
    """A booked flight given back."""

    reference: str


async def search(booking_id: str, trip: Trip) -> Availability:
    """Find the flights of *trip*, today if it names no date."""
    day = trip["date"] or datetime.now(UTC).date().isoformat()
    dated = Trip(origin=trip["origin"], destination=trip["destination"], date=day)
    call = Call("airline", "search", booking_id)
    found = Availability(trip=dated, flights=_timetable(dated["origin"], dated["destination"], day))
    return await ask(
        call,
        outcome="found",
        result=found,
        seconds=1.0,
        fault=SEARCH_TIMEOUT,
        says=("Asking for free seats", "Comparing fares", f"{len(found['flights'])} flights found"),
    )


async def reserve(booking_id: str, flight: Flight, *, idempotency_key: str) -> Reservation:
    """Hold a seat on *flight*; the same key gets the same seat."""
    call = Call("airline", "reserve", booking_id, idempotency_key)
    held = Reservation(
        reservationId=f"R-{secrets.token_hex(6)}",
        pnr="".join(secrets.choice(LOCATOR) for _ in range(6)),
        flight=flight,
        price=flight["price"],
    )
    return await ask(
        call,
        outcome="held",
        result=held,
        seconds=1.2,
        fault=SEAT_LOCK_TIMEOUT,
        says=(f"Locking seat {flight['seat']} on {flight['flightNumber']}", "Seat held"),
    )


async def confirm(booking_id: str, reservation: Reservation, payment_id: str) -> Confirmation:
    """Issue the ticket of a paid seat; a seat has one ticket, however often it is asked for."""
    call = Call("airline", "confirm", booking_id, reservation["reservationId"])
    ticket = Confirmation(
        confirmationNumber=f"SKY-{secrets.token_hex(4).upper()}",
        reservationId=reservation["reservationId"],
        paymentId=payment_id,
        pnr=reservation["pnr"],
        eTicket=f"001-{secrets.randbelow(10**10):010}",
    )
    return await ask(
        call,
        outcome="ticketed",
        result=ticket,
        seconds=0.7,
        fault=TICKETING_DOWN,
        says=("Issuing the e-ticket", "E-ticket issued"),
    )


async def release(booking_id: str, reservation: Reservation) -> Release:
    """Give a held seat back; giving it back twice is the same."""
    call = Call("airline", "release", booking_id, reservation["reservationId"])
    released = Release(reservationId=reservation["reservationId"])
    return await ask(
        call,
        outcome="released",
        result=released,
        seconds=0.6,
        fault=RELEASE_TIMEOUT,
        says=("Asking the airline to take the seat back", "Seat given back"),
    )


async def book(booking_id: str, flight_id: str, *, idempotency_key: str) -> FlightBooking:
    """Book a seat on a flight; the same key gets the same seat."""
    call = Call("airline", "book", booking_id, idempotency_key)
    price = 149 + crc32(flight_id.encode()) % 200
    booked = FlightBooking(reference=f"F-{secrets.token_hex(6)}", flightId=flight_id, price=price)
    return await ask(
        call,
        outcome="booked",
        result=booked,
        seconds=1.2,
        fault=BOOKING_TIMEOUT,
        lasting=FLIGHT_FULL,
        says=(f"Booking flight {flight_id}", f"Seat booked for ${price}"),
    )


async def cancel(booking_id: str, flight: FlightBooking) -> Cancellation:
    """Give a booked flight back; giving it back twice is the same."""
    call = Call("airline", "cancel", booking_id, flight["reference"])
    cancelled = Cancellation(reference=flight["reference"])
    return await ask(
        call,
        outcome="cancelled",
        result=cancelled,
        seconds=0.7,
        fault=CANCEL_TIMEOUT,
        says=("Cancelling the flight", "Flight cancelled"),
    )


def _timetable(origin: str, destination: str, day: str) -> list[Flight]:
    """Make up three flights, the same for every search of that day; the cheapest is never the first."""
    base = crc32(f"{origin}{destination}{day}".encode())
    cheapest = 149 + base % 200
    flights = []
    for index, (departs, arrives, surcharge) in enumerate(
        [("07:15", "10:05", 40), ("12:40", "15:30", 0), ("18:20", "21:10", 85)]
    ):
        flights.append(
            Flight(
                flightNumber=f"SB{100 + (base + 37 * index) % 900}",
                origin=origin,
                destination=destination,
                date=day,
                departs=departs,
                arrives=arrives,
                seat=f"{8 + (base + index) % 20}{'ACDF'[(base + index) % 4]}",
                price=cheapest + surcharge,
            )
        )
    return flights
