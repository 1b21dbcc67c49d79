from __future__ import annotations

from collections.abc import Iterator

import pytest
from quart.typing import TestClientProtocol as Client
from trip_booker import conditions, payments
from trip_booker.conditions import SLOW_SECONDS, USUAL, Conditions
from trip_booker.world import Call, World

CHARGE = Call("payments", "charge", "BK-1", "key")
RESERVE = Call("airline", "reserve", "BK-1", "key")


@pytest.fixture(autouse=True)
def _usual() -> Iterator[None]:
    yield
    conditions.set_conditions(USUAL)


def test_slow_step_delays_its_own_calls() -> None:
    """Only the calls of the named step take longer."""
    conditions.set_conditions(Conditions(slow=frozenset({"process-payment"})))

    assert (conditions.delay(CHARGE), conditions.delay(RESERVE)) == (SLOW_SECONDS, 0)


async def test_charge_that_lost_its_key_is_made_twice(world: World) -> None:
    """The bank cannot know that it is asked again."""
    conditions.set_conditions(Conditions(unkeyed=frozenset({"process-payment"})))
    first = await payments.charge("BK-1", 100, idempotency_key="key")
    second = await payments.charge("BK-1", 100, idempotency_key="key")

    assert first != second
    assert [call.outcome for call in world.calls("BK-1")] == ["charged", "charged"]


async def test_conditions_are_read_from_the_query(client: Client, world: World) -> None:
    """A booking whose charge loses its key has made its calls without one."""
    await client.get("/api/booking?bookingId=BK-1&unkeyed=process-payment&slow=")

    keys = {call.action: call.idempotency_key for call in world.calls("BK-1")}
    assert keys["charge"] is None
    assert keys["reserve"] is not None


@pytest.mark.parametrize("argument", ["slow", "unkeyed"])
async def test_unknown_step_is_refused(argument: str, client: Client, world: World) -> None:
    """A switch that would silently do nothing is refused instead."""
    response = await client.get(f"/api/booking?bookingId=BK-1&{argument}=walk-the-dog")
    answer = await response.get_json()

    assert (response.status_code, answer["error"]["field"]) == (400, argument)
    assert world.calls("BK-1") == []
