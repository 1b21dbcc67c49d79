"""The payment provider, faked: charges and refunds a card, and honours idempotency keys as payment providers do."""

from __future__ import annotations

import secrets
from typing import TypedDict

from inngest_durable import NonRetriableError

from trip_booker.third_party import Fault, ask
from trip_booker.world import Call


class PaymentError(Exception):
    """The provider could not do it this time; it may well work the next time."""


class CardDeclinedError(NonRetriableError):
    """The bank said no. That is an answer, not a fault: asking again cannot help."""


GATEWAY_TIMEOUT = Fault(PaymentError, "GATEWAY_TIMEOUT", "the payment gateway did not answer in time")
CARD_DECLINED = Fault(CardDeclinedError, "CARD_DECLINED", "the bank declined the card")
REFUND_TIMEOUT = Fault(PaymentError, "REFUND_TIMEOUT", "the payment gateway did not answer the refund in time")


class Payment(TypedDict):
    """A charge; the amount is in whole units of the currency."""

    paymentId: str
    amount: int
    currency: str
    card: str


class Refund(TypedDict):
    """A charge given back."""

    refundId: str
    paymentId: str


async def charge(booking_id: str, amount: int, *, idempotency_key: str) -> Payment:
    """Charge the traveller's card; the same key gets the first charge back, and no second one."""
    call = Call("payments", "charge", booking_id, idempotency_key)
    charged = Payment(paymentId=f"pay_{secrets.token_hex(6)}", amount=amount, currency="USD", card="**** 4242")
    return await ask(
        call,
        outcome="charged",
        result=charged,
        seconds=1.6,
        fault=GATEWAY_TIMEOUT,
        lasting=CARD_DECLINED,
        says=("Asking the bank", f"Charging ${amount} to {charged['card']}", f"${amount} charged"),
    )


async def refund(booking_id: str, payment: Payment) -> Refund:
    """Give a charge back; a charge is refunded once, however often it is asked for."""
    call = Call("payments", "refund", booking_id, payment["paymentId"])
    refunded = Refund(refundId=f"ref_{secrets.token_hex(6)}", paymentId=payment["paymentId"])
    return await ask(
        call,
        outcome="refunded",
        result=refunded,
        seconds=0.8,
        fault=REFUND_TIMEOUT,
        says=("Asking the bank to refund", f"${payment['amount']} refunded"),
    )
