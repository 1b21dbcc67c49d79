"""Signals: one sender, one step that waits, by a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from inngest_durable import EventError, Limits, SignalTakenError
from inngest_durable._core.model import RunStatus

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from testkit.colourless import Web, over_both, request, step

pytestmark = over_both


async def paid() -> Any:
    """Wait for a signal that the request names."""
    signal = await step.wait_for_signal("paid", signal=request.args["name"], timeout="1h")
    return {"signal": msgspec.to_builtins(signal)}


@pytest.fixture(params=["memory", "sqlite"])
def office(request: pytest.FixtureRequest, tmp_path: Path, web: Web) -> Office:
    """Make an application with the endpoint `paid`, not yet connected."""
    office = make_office(tmp_path, request.param, limits=Limits(event_data=50))
    office.add("/paid", paid)
    return office


async def test_signal_wakes_the_step_that_waits_for_it(office: Office) -> None:
    async with opened(office):
        one, other = await office.parked("/paid?name=a"), await office.parked("/paid?name=b")

        assert await office.send_signal("a", {"amount": 5}) is True
        assert await office.end(one) == {"signal": {"signal": "a", "data": {"amount": 5}}}
        assert office.run(other).status is RunStatus.WAITING
        assert await office.send_signal("a") is False


async def test_signal_that_does_not_come_is_nothing(office: Office) -> None:
    async with opened(office):
        location = await office.parked("/paid?name=a")
        await office.clock.advance("1h")

        assert await office.end(location) == {"signal": None}
        assert await office.send_signal("a") is False


async def test_second_step_that_waits_is_an_error_that_names_the_first(office: Office) -> None:
    async def second() -> list[str]:
        try:
            await step.wait_for_signal("paid", signal="a", timeout="1h")
        except SignalTakenError as error:
            await step.sleep("pause", "1m")
            return [str(error), *error.__notes__]
        return []

    office.add("/second", second)
    async with opened(office):
        first = await office.parked("/paid?name=a")
        location = await office.parked("/second")
        # By the time of the replay the name is free, and the step raises what it raised before.
        await office.send_signal("a")
        await office.end(first)
        await office.clock.advance("1m")
        text, hint = await office.end(location)

        assert text == (
            f"signal 'a' is waited for by run {office.run(first).id} [run={office.run(location).id} step=paid]"
        )
        assert "Make the name unique" in hint


async def test_step_sends_a_signal_once(office: Office) -> None:
    async def sender() -> list[bool]:
        sent = [await step.send_signal(f"tell {name}", name, 1) for name in "ab"]
        await step.sleep("pause", "1m")
        return sent

    office.add("/sender", sender)
    async with opened(office):
        first = await office.parked("/paid?name=a")
        location = await office.parked("/sender")

        assert await office.end(first) == {"signal": {"signal": "a", "data": 1}}

        again = await office.parked("/paid?name=a")
        await office.clock.advance("1m")

        assert await office.end(location) == [True, False]
        assert office.run(again).status is RunStatus.WAITING


async def test_signal_that_cannot_be_sent_is_refused(office: Office) -> None:
    async with opened(office):
        location = await office.parked("/paid?name=a")
        for name, data in [("", 1), ("a", object()), ("a", "x" * 50)]:
            with pytest.raises(EventError):
                await office.send_signal(name, data)

        assert office.run(location).status is RunStatus.WAITING
