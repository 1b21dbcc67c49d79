"""
One call to a third party: the way there, what it does, the way back. The fakes make every call through `ask`.

A real app would use the provider's client library here. What this one adds is the network's latency and the failures
and crashes that the caller switched on.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar, cast

from inngest_durable import OutsideStepError, progress

from trip_booker import chaos, conditions, settings
from trip_booker.world import Call, open_world

T = TypeVar("T", bound=Mapping[str, object])


@dataclass(frozen=True, slots=True)
class Fault:
    """
    How a call can fail.

    Args:
        error: The exception that the client of the third party raises.
        code: The third party's error code, recorded as the call's outcome.
        text: What happened, for people.
    """

    error: type[Exception]
    code: str
    text: str


async def ask(
    call: Call,
    *,
    outcome: str,
    result: T,
    seconds: float,
    fault: Fault,
    lasting: Fault | None = None,
    says: Sequence[str] = (),
) -> T:
    """
    Make *call* and return its answer: *result*, or the first answer if its idempotency key was seen before.

    Args:
        call: Whom to ask for what.
        outcome: What the third party writes in its books, e.g. ``"charged"``.
        result: What it answers.
        seconds: How long a real call takes, there and back.
        fault: How it fails when the caller asks for some failures.
        lasting: How it fails when the caller asks for nothing else; *fault* if None.
        says: What to report to those who watch, one after another on the way there; the last when the answer is in.

    Raises:
        Exception: The error of *fault* or *lasting*.
    """
    world = open_world()
    on_the_way, arrived = says[:-1], says[-1:]
    call = conditions.sent(call)
    seconds += conditions.delay(call)
    await _travel(seconds / 2, on_the_way)
    times = chaos.failures(call)
    failing = lasting if lasting and times == math.inf else fault
    if times and await asyncio.to_thread(world.refuse, call, failing.code, times):
        await _travel(seconds / 2)
        raise failing.error(f"{failing.code}: {failing.text}")
    reply = await asyncio.to_thread(world.answer, call, outcome, result)
    if reply.first and chaos.crashes(call):
        # The worst moment: the third party has done it, and nobody on our side knows.
        chaos.crash()
    await _travel(seconds / 2, arrived)
    return cast(T, reply.result)


async def _travel(seconds: float, says: Sequence[str] = ()) -> None:
    """Let *seconds* of latency pass, and report in the meantime what is going on."""
    for text in says:
        tell(text)
        await asyncio.sleep(seconds / len(says) * settings.speed())
    if not says:
        await asyncio.sleep(seconds * settings.speed())


def tell(text: str) -> None:
    """Report to those who watch the step how far it is; outside a step, nobody watches."""
    with suppress(OutsideStepError):
        progress(text)
