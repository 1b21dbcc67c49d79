"""The mail service, faked: sends a traveller's ticket, a package's confirmation and an order's result, once each."""

from __future__ import annotations

from typing import TypedDict

from trip_booker.airline import Confirmation, FlightBooking
from trip_booker.cars import Rental
from trip_booker.hotels import Room
from trip_booker.processing import Result
from trip_booker.third_party import Fault, ask
from trip_booker.world import Call


class MailError(Exception):
    """The mail service could not take the message this time."""


MAIL_REFUSED = Fault(MailError, "MAIL_REFUSED", "the mail service is too busy to take the message")
SAYS = ("Handing the mail over", "Mail sent")


class Mail(TypedDict):
    """A message handed to the mail service."""

    subject: str


async def send_ticket(booking_id: str, ticket: Confirmation) -> Mail:
    """Send *ticket*; the mail service drops a message it has seen before."""
    call = Call("notifications", "send-ticket", booking_id, ticket["confirmationNumber"])
    mail = Mail(subject=f"Your ticket {ticket['confirmationNumber']}, e-ticket {ticket['eTicket']}")
    return await ask(call, outcome="sent", result=mail, seconds=0.2, fault=MAIL_REFUSED, says=SAYS)


async def send_confirmation(booking_id: str, flight: FlightBooking, hotel: Room, car: Rental) -> Mail:
    """Send the confirmation of a package; the mail service drops a message it has seen before."""
    references = f"{flight['reference']}, {hotel['reference']}, {car['reference']}"
    call = Call("notifications", "send-confirmation", booking_id, references)
    mail = Mail(subject=f"Your flight, hotel and car are booked: {references}")
    return await ask(call, outcome="sent", result=mail, seconds=0.2, fault=MAIL_REFUSED, says=SAYS)


async def notify(user_id: str, result: Result) -> Mail:
    """Notify a user of a result; the mail service drops a message it has seen before."""
    call = Call("notifications", "notify", user_id, result["resultId"])
    mail = Mail(subject=f"Your data is processed: {result['resultId']}")
    return await ask(call, outcome="sent", result=mail, seconds=0.2, fault=MAIL_REFUSED, says=SAYS)
