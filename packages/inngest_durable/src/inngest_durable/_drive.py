"""
The only place where sync and async differ: two loops that perform what a step's flow asks for.

The flow decides, the performer acts. A `BaseException` that is not an `Exception` (an interrupt, a cancellation, the
death of the process in a test) is never shown to the flow: it leaves at once, and nothing of the attempt is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ._core.effects import Call, Effect, StepFlow


def drive(flow: StepFlow, effect: Effect, perform: Callable[[Effect], Any]) -> Any:
    """Run *flow*, which asks for *effect* first, to its end in this thread, performing each with *perform*."""
    try:
        while True:
            try:
                value = perform(effect)
            except Exception as error:
                if not isinstance(effect, Call):
                    raise
                effect = flow.throw(error)
            else:
                effect = flow.send(value)
    except StopIteration as stop:
        return stop.value


class Performer(Protocol):
    """What acts for a step on an event loop."""

    def perform(self, effect: Effect) -> Awaitable[Any]:
        """Begin *effect*; await the return value for its result."""

    def succeeded(self, value: Any) -> None:
        """Take the result of the step."""

    def failed(self, error: BaseException) -> None:
        """Take what the step raises, or why its task was left."""


async def adrive(flow: StepFlow, effect: Effect, performer: Performer) -> None:
    """
    Run *flow*, which asks for *effect* first, to its end in this task, and tell *performer* how it ended.

    Raises only `asyncio.CancelledError`, when this task is cancelled.
    """
    perform = performer.perform
    try:
        while True:
            try:
                value = await perform(effect)
            except Exception as error:
                if not isinstance(effect, Call):
                    raise
                effect = flow.throw(error)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if not isinstance(effect, Call) or task is None or task.cancelling():
                    raise
                # Nobody cancelled the step: something that it awaited was cancelled, a failure like any other.
                cancelled = RuntimeError("something that the step function awaited was cancelled")
                cancelled.__cause__ = error
                effect = flow.throw(cancelled)
            else:
                effect = flow.send(value)
    except StopIteration as stop:
        performer.succeeded(stop.value)
    except asyncio.CancelledError as error:
        performer.failed(error)
        raise
    except BaseException as error:
        performer.failed(error)
