"""
What the page offers: one entry for each way to put a handler together, with the handler that shows it.

The rows of a pattern are known before it runs, so the page has room for each of them and nothing jumps. A test holds
them to the step IDs in the handler's source.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trip_booker import approval, booking, countdown, package, saga


@dataclass(frozen=True, slots=True)
class Pattern:
    """
    One entry of the page.

    Args:
        title: What is booked.
        shows: The pattern, in two or three words.
        look: What to look at while it runs.
        icon: Name of its icon in ``templates/icons.html``.
        handler: The endpoint.
        method: Its HTTP method.
        path: Its path.
        steps: The steps of a run in which nothing goes wrong, in order.
        undo: The steps that take things back.
        critical: The step in which a crash hurts most.
        trouble: What goes wrong unless the visitor chooses something else, e.g. ``"reserve-flight:2"``.
    """

    title: str
    shows: str
    look: str
    icon: str
    handler: Callable[..., Any]
    method: str
    path: str
    steps: tuple[str, ...]
    undo: tuple[str, ...]
    critical: str = "process-payment"
    trouble: str = ""

    @property
    def endpoint(self) -> str:
        """The endpoint's ID, by which its runs are looked up."""
        handler = inspect.unwrap(self.handler)
        return f"{handler.__module__}.{handler.__qualname__}"

    @property
    def chaos(self) -> str:
        """The endpoint's blueprint, whose switches it has."""
        return self.handler.__module__.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Label:
    """A step as a visitor would say it, and its icon."""

    text: str
    icon: str


LABELS = {
    "search-availability": Label("Search flights", "search"),
    "reserve-flight": Label("Reserve a seat", "seat"),
    "process-payment": Label("Charge the card", "card"),
    "confirm-booking": Label("Issue the ticket", "ticket"),
    "refund-payment": Label("Refund the charge", "undo"),
    "release-seat": Label("Release the seat", "undo"),
    "book-flight": Label("Book the flight", "plane"),
    "book-hotel": Label("Book the hotel", "hotel"),
    "book-car": Label("Rent the car", "car"),
    "send-confirmation": Label("Confirm all three", "mail"),
    "cancel-flight": Label("Cancel the flight", "undo"),
    "cancel-hotel": Label("Cancel the hotel", "undo"),
    "cancel-car": Label("Cancel the car", "undo"),
    "wait-for-approval": Label("Wait for approval", "person"),
    "hold": Label("Hold the seat", "clock"),
}

_FLIGHT_STEPS = ("search-availability", "reserve-flight", "process-payment", "confirm-booking")
_FLIGHT_UNDO = ("refund-payment", "release-seat")
_PARTS = ("book-flight", "book-hotel", "book-car")
_CANCEL_PARTS = ("cancel-flight", "cancel-hotel", "cancel-car")

PATTERNS = {
    "flight": Pattern(
        title="Flight",
        shows="One step after another",
        look="Each green line is on disk. Kill the server: a new process goes on below the last green line.",
        icon="plane",
        handler=booking.book_trip,
        method="GET",
        path="/api/booking",
        steps=_FLIGHT_STEPS,
        undo=_FLIGHT_UNDO,
    ),
    "rough": Pattern(
        title="Rough day",
        shows="Failures and retries",
        look="The seat is locked twice. The step is tried again by itself, later; the request waits behind a redirect.",
        icon="storm",
        handler=booking.book_trip,
        method="GET",
        path="/api/booking",
        steps=_FLIGHT_STEPS,
        undo=_FLIGHT_UNDO,
        trouble="reserve-flight:2",
    ),
    "package": Pattern(
        title="Package",
        shows="Steps side by side",
        look="Three bars start at once. Only the hotel is asked again; flight and car are not booked a second time.",
        icon="suitcase",
        handler=package.book_package,
        method="POST",
        path="/api/package",
        steps=(*_PARTS, "send-confirmation"),
        undo=_CANCEL_PARTS,
        critical="book-hotel",
        trouble="book-hotel:1",
    ),
    "tour": Pattern(
        title="Tour",
        shows="A saga, undone in reverse",
        look="The card is declined at the end. What was booked is taken back, last first, each in a step of its own.",
        icon="undo",
        handler=saga.book_tour,
        method="POST",
        path="/api/tours",
        steps=(*_PARTS, "process-payment"),
        undo=tuple(reversed(_CANCEL_PARTS)),
        trouble="process-payment:always",
    ),
    "approval": Pattern(
        title="Over budget",
        shows="Waits for a person",
        look="The run waits with nothing in memory: kill the server, come back tomorrow, then approve or reject.",
        icon="person",
        handler=approval.book_approved_trip,
        method="POST",
        path="/api/trips",
        steps=("search-availability", "reserve-flight", "wait-for-approval", "process-payment", "confirm-booking"),
        undo=_FLIGHT_UNDO,
    ),
    "hold": Pattern(
        title="Hold a seat",
        shows="A durable countdown",
        look="The countdown is a time on disk, not a timer in memory. Restart the server: it still ends on the second.",
        icon="clock",
        handler=countdown.hold_seat,
        method="POST",
        path="/api/holds",
        steps=("search-availability", "reserve-flight", "hold", "release-seat"),
        undo=(),
        critical="reserve-flight",
    ),
}
