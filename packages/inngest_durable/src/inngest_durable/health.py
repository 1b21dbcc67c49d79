"""
Whether this process can serve: what ``Inngest.unready`` and the routes under ``/_inngest/health`` answer.

Knows no framework. Over HTTP only the kind of trouble is named: anybody may ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from msgspec import Struct

from ._core import http
from ._core.model import RecordedResponse
from .engines.base import Engine

# Less than balancers wait for an answer.
PATIENCE_SECONDS = 2.0

ALIVE = http.answer(200, {"status": "alive"})
_READY = http.answer(200, {"status": "ready"})


class Unready(Struct, frozen=True):
    """
    Why no run can be begun here at the moment.

    Attributes:
        reason: ``"not started"``, ``"draining"`` or ``"cannot record"``.
        detail: A sentence for the operator.
    """

    reason: str
    detail: str


@runtime_checkable
class Probed(Protocol):
    """An engine that can check whether it can write, without leaving anything behind."""

    async def probe(self, timeout_seconds: float) -> str | None:
        """Return why nothing could be written within *timeout_seconds*, or None."""


async def unready(engine: Engine, start: Callable[[], Awaitable[None]]) -> Unready | None:
    """
    Return why no run can be begun at the moment, or None. Takes 4 s at most; on the engine's event loop.

    An engine that has not been started is started by *start*, as by a request to an endpoint; one that was stopped is
    not.
    """
    if engine.passes.interrupted:
        return Unready("draining", f"no run is begun or resumed here any more: {engine.passes.interrupted}")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await start()
    except TimeoutError:
        return Unready("not started", f"the engine did not start within {PATIENCE_SECONDS:g} s; it goes on trying")
    except Exception as error:
        return Unready("not started", f"the engine could not be started: {error}")
    trouble = engine.failing
    if trouble is None and isinstance(engine, Probed):
        trouble = await engine.probe(PATIENCE_SECONDS)
    return None if trouble is None else Unready("cannot record", f"runs cannot be recorded: {trouble}")


async def health(engine: Engine, start: Callable[[], Awaitable[None]]) -> RecordedResponse:
    """Return the answer to the question whether to send requests here: ``200``, or ``503`` with the reason."""
    found = await unready(engine, start)
    return _READY if found is None else http.answer(503, {"status": "unready", "reason": found.reason})
