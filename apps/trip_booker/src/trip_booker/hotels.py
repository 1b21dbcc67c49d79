"""The hotels, faked: book a room and take it back. Their memory is the outside world, not this process."""

from __future__ import annotations

import secrets
from typing import TypedDict
from zlib import crc32

from inngest_durable import NonRetriableError

from trip_booker.third_party import Fault, ask
from trip_booker.world import Call


class HotelError(Exception):
    """The hotel could not do it this time; it may well work the next time."""


class NoRoomError(NonRetriableError):
    """Every room is taken. That is an answer, not a fault: asking again cannot help."""


HOTEL_TIMEOUT = Fault(HotelError, "HOTEL_TIMEOUT", "the hotel did not answer in time")
NO_ROOM = Fault(NoRoomError, "NO_ROOM", "the hotel has no room left")
CANCEL_TIMEOUT = Fault(HotelError, "CANCEL_TIMEOUT", "the hotel did not answer the cancellation in time")


class Room(TypedDict):
    """A booked room; the price is in whole dollars."""

    reference: str
    hotelId: str
    price: int


class Cancellation(TypedDict):
    """A room given back."""

    reference: str


async def book(booking_id: str, hotel_id: str, *, idempotency_key: str) -> Room:
    """Book a room; the same key gets the same room."""
    call = Call("hotels", "book", booking_id, idempotency_key)
    price = 80 + crc32(hotel_id.encode()) % 240
    room = Room(reference=f"H-{secrets.token_hex(6)}", hotelId=hotel_id, price=price)
    return await ask(
        call,
        outcome="booked",
        result=room,
        seconds=1.8,
        fault=HOTEL_TIMEOUT,
        lasting=NO_ROOM,
        says=(f"Asking hotel {hotel_id} for a room", "Waiting for the front desk", f"Room booked for ${price}"),
    )


async def cancel(booking_id: str, room: Room) -> Cancellation:
    """Give a room back; giving it back twice is the same."""
    call = Call("hotels", "cancel", booking_id, room["reference"])
    cancelled = Cancellation(reference=room["reference"])
    return await ask(
        call,
        outcome="cancelled",
        result=cancelled,
        seconds=0.7,
        fault=CANCEL_TIMEOUT,
        says=("Cancelling the room", "Room cancelled"),
    )
