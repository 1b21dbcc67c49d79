"""
Failures and crashes that the caller of a booking switches on, so that a reader can see what durability is worth.

``fail=reserve-flight:2,process-payment:always`` makes calls fail; ``crash=process-payment`` kills this process inside
a step. The counts live in the outside world, per booking, so a restart does not reset them. Nothing here is random.
The handler knows nothing of this module: `third_party` asks it about every call.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from quart import Quart, request

from trip_booker.errors import InvalidRequestError
from trip_booker.world import Call

# Which call to a third party makes up which step, by the blueprint whose endpoint has the step. (A confirmed booking
# also sends an e-mail, which always works.)
STEPS = {
    "booking": {
        "search-availability": ("airline", "search"),
        "reserve-flight": ("airline", "reserve"),
        "process-payment": ("payments", "charge"),
        "confirm-booking": ("airline", "confirm"),
        "refund-payment": ("payments", "refund"),
        "release-seat": ("airline", "release"),
    },
    "package": {
        "book-flight": ("airline", "book"),
        "book-hotel": ("hotels", "book"),
        "book-car": ("cars", "book"),
        "send-confirmation": ("notifications", "send-confirmation"),
        "cancel-flight": ("airline", "cancel"),
        "cancel-hotel": ("hotels", "cancel"),
        "cancel-car": ("cars", "cancel"),
    },
    "saga": {
        "book-flight": ("airline", "book"),
        "book-hotel": ("hotels", "book"),
        "book-car": ("cars", "book"),
        "process-payment": ("payments", "charge"),
        "cancel-flight": ("airline", "cancel"),
        "cancel-hotel": ("hotels", "cancel"),
        "cancel-car": ("cars", "cancel"),
    },
    "countdown": {
        "search-availability": ("airline", "search"),
        "reserve-flight": ("airline", "reserve"),
        "release-seat": ("airline", "release"),
    },
    "approval": {
        "search-availability": ("airline", "search"),
        "reserve-flight": ("airline", "reserve"),
        "process-payment": ("payments", "charge"),
        "confirm-booking": ("airline", "confirm"),
        "refund-payment": ("payments", "refund"),
        "release-seat": ("airline", "release"),
    },
    "orders": {
        "enrich-data": ("accounts", "find"),
        "process": ("processing", "process"),
        "notify": ("notifications", "notify"),
    },
}

CALLS = {step: call for steps in STEPS.values() for step, call in steps.items()}


class Query(Protocol):
    """The part of a request's query arguments that is used here."""

    def getlist(self, key: str) -> list[str]:
        """Return every value of *key*."""
        ...


@dataclass(frozen=True, slots=True)
class Switches:
    """
    What is to go wrong in one booking.

    Attributes:
        failures: How many calls of each step fail; infinity for "always".
        crashes: Steps whose first successful call kills this process, after the third party has done its part.
    """

    failures: Mapping[str, float] = field(default_factory=dict)
    crashes: frozenset[str] = frozenset()

    @classmethod
    def from_query(cls, query: Query, steps: Collection[str]) -> Switches:
        """
        Read the switches from the arguments ``fail`` and ``crash``.

        Raises:
            InvalidRequestError: An entry cannot be read, names none of *steps*, or a step is named twice.
        """
        failures: dict[str, float] = {}
        for entry in _entries(query, "fail"):
            step, _, times = entry.partition(":")
            _check_step("fail", entry, step, steps)
            if step in failures:
                raise InvalidRequestError("fail", f"fail names the step {step!r} twice")
            failures[step] = _times(entry, times)
        crashes = frozenset(_entries(query, "crash"))
        for step in crashes:
            _check_step("crash", step, step, steps)
        return cls(failures, crashes)


NOTHING = Switches()

_switches: ContextVar[Switches] = ContextVar("switches", default=NOTHING)


def install(app: Quart) -> None:
    """Read the switches of each request to an endpoint of *app*, before its handler runs."""

    @app.before_request
    async def read_switches() -> None:
        # Set in the context of this request; steps run in copies of it.
        if (steps := STEPS.get(request.blueprint or "")) is not None:
            _switches.set(Switches.from_query(request.args, steps))


def switch_on(switches: Switches) -> None:
    """Let *switches* decide about the calls made from here on in this context."""
    _switches.set(switches)


def failures(call: Call) -> float:
    """Return how many calls like *call* are to fail for its booking: 0, a number, or infinity."""
    return max((times for step, times in _switches.get().failures.items() if _is_for(step, call)), default=0)


def crashes(call: Call) -> bool:
    """Return whether this process is to be killed once *call* has been answered."""
    return any(_is_for(step, call) for step in _switches.get().crashes)


def crash() -> NoReturn:
    """Kill this process as a power cut would: nothing is cleaned up, flushed or said."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemError("this process outlived SIGKILL")


def _is_for(step: str, call: Call) -> bool:
    return CALLS[step] == (call.service, call.action)


def _entries(query: Query, argument: str) -> Iterator[str]:
    for value in query.getlist(argument):
        # An HTML form sends an empty value for "nothing chosen".
        if value:
            yield from (entry.strip() for entry in value.split(","))


def _check_step(argument: str, entry: str, step: str, steps: Collection[str]) -> None:
    if step not in steps:
        usage = "step:times or step:always" if argument == "fail" else "step"
        message = f"{argument} entry {entry!r} is not of the form {usage}, where step is one of {', '.join(steps)}"
        raise InvalidRequestError(argument, message)


def _times(entry: str, times: str) -> float:
    if times == "always":
        return math.inf
    if not (times.isascii() and times.isdigit() and int(times) > 0):
        raise InvalidRequestError("fail", f"fail entry {entry!r} must end with ':' and a number from 1, or ':always'")
    return int(times)
