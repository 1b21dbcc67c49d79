"""
Two more switches of `chaos`, for what is not a failure: a slow third party, and a charge without its idempotency key.

``slow=reserve-flight`` makes the calls of that step take longer by `SLOW_SECONDS`. ``unkeyed=process-payment`` loses
the idempotency key of that step on its way, as if the step function had not handed one over.
"""

from __future__ import annotations

from collections.abc import Collection
from contextvars import ContextVar
from dataclasses import dataclass, replace

from quart import Quart, request

from trip_booker.chaos import CALLS, STEPS
from trip_booker.errors import InvalidRequestError
from trip_booker.world import Call

# Long enough to find the button that kills the server.
SLOW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """Which steps have slow calls, and which have calls without a key."""

    slow: frozenset[str] = frozenset()
    unkeyed: frozenset[str] = frozenset()


USUAL = Conditions()

_conditions: ContextVar[Conditions] = ContextVar("conditions", default=USUAL)


def install(app: Quart) -> None:
    """Read the conditions of each request to an endpoint of *app*, before its handler runs."""

    @app.before_request
    async def read_conditions() -> None:
        if (steps := STEPS.get(request.blueprint or "")) is not None:
            set_conditions(Conditions(slow=_named("slow", steps), unkeyed=_named("unkeyed", steps)))


def set_conditions(conditions: Conditions) -> None:
    """Let *conditions* hold for the calls made from here on in this context."""
    _conditions.set(conditions)


def delay(call: Call) -> float:
    """Return how many seconds longer *call* takes than it should."""
    return SLOW_SECONDS if _names(_conditions.get().slow, call) else 0.0


def sent(call: Call) -> Call:
    """Return *call* as it reaches the third party: with its key, or without."""
    return replace(call, idempotency_key=None) if _names(_conditions.get().unkeyed, call) else call


def _named(argument: str, steps: Collection[str]) -> frozenset[str]:
    named = [entry for value in request.args.getlist(argument) if value for entry in value.split(",")]
    if unknown := next((entry for entry in named if entry not in steps), None):
        raise InvalidRequestError(argument, f"{argument} entry {unknown!r} is none of {', '.join(steps)}")
    return frozenset(named)


def _names(steps: frozenset[str], call: Call) -> bool:
    return any(CALLS[step] == (call.service, call.action) for step in steps)
