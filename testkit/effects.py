"""
Effects on the outside world, some of which kill the process that has them.

Used by the step functions of the applications under test. Each execution leaves a line with a token of its own, which
is also the step's result: so the test can tell which execution was memoized.
"""

from __future__ import annotations

import os
import signal
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

from inngest_durable import RetryAfterError, step

from testkit.outside import Outside


class Effects:
    """
    An outside world with traps in it.

    Args:
        folder: Where it is kept; shared by all processes of one test.
    """

    def __init__(self, folder: Path) -> None:
        self.outside = Outside(folder)
        self._traps = folder / "traps"
        self._traps.mkdir(exist_ok=True)

    def arm(self, action: str, *calls: int) -> None:
        """Let the calls of *action* with these numbers (1-based) kill their process, after the effect."""
        for call in calls:
            (self._traps / f"{action}:{call}").touch()

    def perform(self, action: str) -> str:
        """Have the effect of a step: record it with its idempotency key, and return its token."""
        token = uuid.uuid4().hex
        self._record(action, token=token, key=step.idempotency_key())
        return token

    def begin(self, action: str) -> None:
        """Record that the function of a step was called, before its effect."""
        self._record(f"{action} begins", key=step.idempotency_key())

    def perform_held(self, action: str) -> str:
        """Have the effect of a step, which takes until the test opens the action's gate."""
        self.outside.held(f"{action} begins")
        return self.perform(action)

    def perform_at_second_call(self, action: str, milliseconds: int) -> str:
        """Fail at the first call, and ask for the second one after a pause."""
        token = self.perform(action)
        if len(self.outside.calls(action)) == 1:
            raise RetryAfterError("not yet", timedelta(milliseconds=milliseconds))
        return token

    def is_armed(self, action: str, call: int) -> bool:
        """Whether this call of *action* is to kill its process."""
        return (self._traps / f"{action}:{call}").exists()

    def pass_by(self, place: str) -> None:
        """Record that the handler's own code came by."""
        self._record(place)

    def _record(self, action: str, **facts: Any) -> None:
        number = self.outside.record(action, **facts)
        if self.is_armed(action, number):
            os.kill(os.getpid(), signal.SIGKILL)
