"""The two drivers: the only place where threads and asyncio differ, so they are held to the same list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from inngest_durable import RunInterrupt
from inngest_durable._core.effects import Call, Effect, Save, StepFlow, Wait
from inngest_durable._core.model import Memo, StepOp, StepState
from inngest_durable._drive import adrive, drive

from packages.inngest_durable.tests.core.performers import Awaiting

MEMO = Memo("pay", "pay", StepOp.RUN, StepState.COMPLETED)
Driver = Callable[[StepFlow, Callable[[Effect], Any]], Any]


def drive_in_thread(flow: StepFlow, perform: Callable[[Effect], Any]) -> Any:
    """Run *flow* by `drive`."""
    return drive(flow, next(flow), perform)


def drive_on_loop(flow: StepFlow, perform: Callable[[Effect], Any]) -> Any:
    """Run *flow* by `adrive`, each effect some turns of the loop later."""

    async def aperform(effect: Effect) -> Any:
        await asyncio.sleep(0)
        return perform(effect)

    performer = Awaiting(aperform)
    asyncio.run(adrive(flow, next(flow), performer))
    return performer.outcome.result()


@pytest.fixture(params=[drive_in_thread, drive_on_loop], ids=["drive", "adrive"])
def driver(request: pytest.FixtureRequest) -> Driver:
    """Give each of the drivers."""
    found: Driver = request.param
    return found


def test_driver_performs_each_effect_and_sends_its_result(driver: Driver) -> None:
    """What the performer returns is what the flow gets."""

    def flow() -> StepFlow:
        first = yield Call(1)
        second = yield Save(MEMO)
        return [first, second, (yield Wait(MEMO))]

    performed: list[Effect] = []

    def perform(effect: Effect) -> int:
        performed.append(effect)
        return len(performed)

    assert driver(flow(), perform) == [1, 2, 3]
    assert performed == [Call(1), Save(MEMO), Wait(MEMO)]


def test_driver_throws_the_users_error_into_the_flow(driver: Driver) -> None:
    """What a step's function raises is for the flow to decide on."""

    def flow() -> StepFlow:
        try:
            yield Call(1)
        except OSError as error:
            return f"caught {error}"

    def perform(effect: Effect) -> None:
        raise OSError("down")

    assert driver(flow(), perform) == "caught down"


def test_driver_lets_the_error_of_the_flow_pass(driver: Driver) -> None:
    """What the flow raises is for the handler."""

    def flow() -> StepFlow:
        yield Call(1)
        raise LookupError("no memo")

    with pytest.raises(LookupError, match="no memo"):
        driver(flow(), lambda effect: None)


@pytest.mark.parametrize("effect", [Save(MEMO), Wait(MEMO)], ids=lambda effect: type(effect).__name__)
def test_driver_keeps_the_performers_own_error_from_the_flow(driver: Driver, effect: Effect) -> None:
    """An engine that fails is no failed attempt."""
    seen: list[BaseException] = []

    def flow() -> StepFlow:
        try:
            yield effect
        except Exception as error:
            seen.append(error)

    def perform(effect: Effect) -> None:
        raise OSError("engine")

    with pytest.raises(OSError, match="engine"):
        driver(flow(), perform)

    assert seen == []


@pytest.mark.parametrize("effect", [Call(1), Save(MEMO), Wait(MEMO)], ids=lambda effect: type(effect).__name__)
def test_driver_lets_an_interrupt_leave_at_once(driver: Driver, effect: Effect) -> None:
    """An interrupt is no failed attempt: the flow does not see it, and records nothing."""
    seen: list[BaseException] = []

    def flow() -> StepFlow:
        try:
            yield effect
        except (Exception, RunInterrupt) as error:
            seen.append(error)
        yield Save(MEMO)

    performed: list[Effect] = []

    def perform(effect: Effect) -> None:
        performed.append(effect)
        raise RunInterrupt("parked")

    with pytest.raises(RunInterrupt):
        driver(flow(), perform)

    assert seen == []
    assert performed == [effect]
