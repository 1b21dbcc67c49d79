"""
The only place where sync and async differ: two loops that perform what a step's flow asks for.

The flow decides, the performer acts. A `BaseException` that is no `Exception` (an interrupt, a cancellation, the
death of the process in a test) is never shown to the flow: it leaves at once, and nothing of the attempt is recorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ._core.effects import Call, Effect, StepFlow


def drive(flow: StepFlow, perform: Callable[[Effect], Any]) -> Any:
    """Run *flow* to its end in this thread, performing each effect with *perform*."""
    resume, argument = flow.send, None
    while True:
        try:
            effect = resume(argument)
        except StopIteration as stop:
            return stop.value
        resume = flow.send
        try:
            argument = perform(effect)
        except Exception as error:
            if not isinstance(effect, Call):
                raise
            resume, argument = flow.throw, error


async def adrive(flow: StepFlow, perform: Callable[[Effect], Awaitable[Any]]) -> Any:
    """Run *flow* to its end on this event loop, performing each effect with *perform*."""
    resume, argument = flow.send, None
    while True:
        try:
            effect = resume(argument)
        except StopIteration as stop:
            return stop.value
        resume = flow.send
        try:
            argument = await perform(effect)
        except Exception as error:
            if not isinstance(effect, Call):
                raise
            resume, argument = flow.throw, error
