from __future__ import annotations

import asyncio
import math

import pytest
from trip_booker import chaos
from trip_booker.chaos import CALLS, Switches
from trip_booker.errors import InvalidRequestError
from trip_booker.world import Call
from werkzeug.datastructures import MultiDict

RESERVE = Call("airline", "reserve", "BK-1")
CHARGE = Call("payments", "charge", "BK-1")


def switches(*arguments: tuple[str, str]) -> Switches:
    return Switches.from_query(MultiDict(arguments), CALLS)


def test_no_argument_switches_nothing_on() -> None:
    """A plain request has no trouble, nor has a form in which nothing was chosen."""
    assert switches() == Switches()
    assert switches(("fail", ""), ("fail", "")) == Switches()


def test_entries_are_read_from_lists_and_repeated_arguments() -> None:
    """Several steps may fail and crash, in one argument or in several."""
    read = switches(
        ("fail", "reserve-flight:2, process-payment:always"),
        ("fail", "confirm-booking:1"),
        ("crash", "reserve-flight,process-payment"),
    )

    assert read.failures == {"reserve-flight": 2, "process-payment": math.inf, "confirm-booking": 1}
    assert read.crashes == {"reserve-flight", "process-payment"}


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("fail", "reserve-flight"),
        ("fail", "reserve-flight:"),
        ("fail", "reserve-flight:0"),
        ("fail", "reserve-flight:-1"),
        ("fail", "reserve-flight:\u00b2"),
        ("fail", "reserve-flight:never"),
        ("fail", "reserve-flight:1:2"),
        ("fail", "reserve-flight:1,,"),
        ("fail", "reserve-flight:1,reserve-flight:2"),
        ("fail", "walk-the-dog:1"),
        ("fail", ":1"),
        ("crash", "walk-the-dog"),
        ("crash", "process-payment:1"),
        ("crash", "process-payment,"),
    ],
)
def test_unreadable_switch_names_the_argument(argument: str, text: str) -> None:
    """A switch that would silently do nothing is refused instead."""
    with pytest.raises(InvalidRequestError) as caught:
        switches((argument, text))

    assert caught.value.field == argument


def test_switches_touch_only_the_call_of_their_step() -> None:
    """A switch for the reservation leaves the payment alone."""
    chaos.switch_on(switches(("fail", "reserve-flight:2"), ("crash", "process-payment")))

    assert (chaos.failures(RESERVE), chaos.failures(CHARGE)) == (2, 0)
    assert (chaos.crashes(RESERVE), chaos.crashes(CHARGE)) == (False, True)


async def test_switches_of_one_request_do_not_reach_another() -> None:
    """Requests are tasks: each sees the switches of its own context only."""

    async def request(times: int) -> float:
        chaos.switch_on(Switches({"reserve-flight": times}))
        await asyncio.sleep(0)
        return chaos.failures(RESERVE)

    first, second = await asyncio.gather(request(1), request(2))
    assert (first, second) == (1, 2)
