"""What the third parties know about one booking, put together for a caller whose connection was lost. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from trip_booker.world import REPLAYED, Entry

# Who books the parts of a package, and the messages that end one and an order.
PACKAGE = ("airline", "hotels", "cars")
TOLD = ("send-confirmation", "notify")


def summary(booking_id: str, calls: Sequence[Entry]) -> dict[str, Any]:
    """
    Return the state of a booking as JSON.

    It has ``status``, ``reservations`` and ``charges``, ``bookings`` (the parts of a package), ``confirmation`` and
    ``calls``. The status is ``"unknown"`` when nobody was called, ``"confirmed"`` when there is a ticket, the traveller
    was notified or everything booked is paid, ``"cancelled"`` when everything taken was given back, otherwise
    ``"in_progress"``.
    """
    released = {done["reservationId"] for done in _done(calls, "airline", "release")}
    refunded = {done["paymentId"] for done in _done(calls, "payments", "refund")}
    tickets = {done["reservationId"]: done for done in _done(calls, "airline", "confirm")}
    reservations = [
        {**seat, "status": _seat_status(seat["reservationId"], tickets, released)}
        for seat in _done(calls, "airline", "reserve")
    ]
    charges = [
        {**charge, "status": "refunded" if charge["paymentId"] in refunded else "charged"}
        for charge in _done(calls, "payments", "charge")
    ]
    bookings = [booking for service in PACKAGE for booking in _bookings(calls, service)]
    return {
        "bookingId": booking_id,
        "status": _status(calls, [taken["status"] for taken in reservations + bookings], _is_paid(bookings, charges)),
        "reservations": reservations,
        "charges": charges,
        "bookings": bookings,
        "confirmation": next(iter(tickets.values()), None),
        "calls": [asdict(call) for call in calls],
    }


def table(calls: Sequence[Entry]) -> str:
    """Return one line for each call, with the process that made it: after a crash, another one goes on."""
    rows = [("process", "service", "action", "outcome")]
    rows += [(str(call.pid), call.service, call.action, call.outcome) for call in calls]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def _done(calls: Iterable[Entry], service: str, action: str) -> list[dict[str, Any]]:
    """Return what *service* did when asked for *action*, without failures and repeated answers."""
    return [
        call.result
        for call in calls
        if (call.service, call.action) == (service, action) and call.result is not None and call.outcome != REPLAYED
    ]


def _bookings(calls: Sequence[Entry], service: str) -> list[dict[str, Any]]:
    cancelled = {done["reference"] for done in _done(calls, service, "cancel")}
    return [
        {"service": service, **booked, "status": "cancelled" if booked["reference"] in cancelled else "booked"}
        for booked in _done(calls, service, "book")
    ]


def _seat_status(reservation_id: str, tickets: Iterable[str], released: Iterable[str]) -> str:
    if reservation_id in released:
        return "released"
    return "ticketed" if reservation_id in tickets else "held"


def _is_paid(bookings: Sequence[dict[str, Any]], charges: Sequence[dict[str, Any]]) -> bool:
    """Return whether parts were booked and then paid together: the end of a tour, which sends no message."""
    return any(booking["status"] == "booked" for booking in bookings) and any(
        charge["status"] == "charged" for charge in charges
    )


def _status(calls: Sequence[Entry], taken: Sequence[str], is_paid: bool) -> str:
    if not calls:
        return "unknown"
    if is_paid or "ticketed" in taken or any(_done(calls, "notifications", action) for action in TOLD):
        return "confirmed"
    if taken and all(status in ("released", "cancelled") for status in taken):
        return "cancelled"
    return "in_progress"
