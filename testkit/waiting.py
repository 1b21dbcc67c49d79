"""Waiting for a condition, with a deadline; never for a time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# For what takes a moment: nobody waits so long, unless the machine is very busy, or the test fails.
PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.005


def wait_until(condition: Callable[[], T], what: str, timeout_seconds: float = PATIENCE_SECONDS) -> T:
    """
    Ask *condition* until its answer is truthy, and return that answer.

    Raises:
        TimeoutError: It never was within *timeout_seconds*. Says *what* was awaited and what the last answer was.
    """
    deadline = time.monotonic() + timeout_seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_seconds:g} s for {what}; the last answer was {answer!r}")
        time.sleep(_POLL_SECONDS)
    return answer
