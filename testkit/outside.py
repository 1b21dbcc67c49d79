"""
The world outside the application: counts every effect in a file that survives the death of any process.

Used by the step functions of the applications under test, of any framework and in any process, and by the tests.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from testkit.waiting import PATIENCE_SECONDS, wait_until


class OutageError(Exception):
    """What an action raises while it is down."""


class Outside:
    """
    A ledger of effects, and gates that hold an action until the test opens them.

    Args:
        folder: Where it is kept; shared by all processes of one test.
    """

    def __init__(self, folder: Path) -> None:
        self._ledger = folder / "ledger"
        self._gates = folder / "gates"
        self._gates.mkdir(parents=True, exist_ok=True)

    def record(self, action: str, **facts: Any) -> int:
        """Write one effect down and return how often *action* has happened, this time included."""
        line = json.dumps({"action": action, "pid": os.getpid(), **facts}) + "\n"
        # One write to a file opened for appending: the lines of several processes do not mix.
        descriptor = os.open(self._ledger, os.O_CREAT | os.O_APPEND | os.O_RDWR)
        try:
            os.write(descriptor, line.encode())
            # Up to this line: others may have written theirs by now.
            before = os.pread(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR), 0)
        finally:
            os.close(descriptor)
        return sum(call["action"] == action for call in _whole_lines(before))

    def act(self, action: str, fail: int = 0) -> str:
        """Do *action* as a third party would; the first *fail* calls raise. Returns ``<action>#<call>``."""
        number = self.record(action)
        if number <= fail:
            raise OutageError(f"{action} is down")
        return f"{action}#{number}"

    def held(self, action: str, timeout_seconds: float = PATIENCE_SECONDS) -> str:
        """Do *action*, which takes until the test opens its gate."""
        number = self.record(action)
        wait_until(lambda: self.is_open(action), f"the gate {action!r} to be opened", timeout_seconds)
        return f"{action}#{number}"

    def is_open(self, gate: str) -> bool:
        """Whether *gate* was opened."""
        return (self._gates / gate).exists() or (self._gates / "*").exists()

    def open(self, gate: str) -> None:
        """Open a gate for good; ``*`` is every gate."""
        (self._gates / gate).touch()

    def calls(self, action: str | None = None) -> list[dict[str, Any]]:
        """Return what was written down of *action*, or of all, oldest first."""
        try:
            written = self._ledger.read_bytes()
        except FileNotFoundError:
            return []
        return [call for call in _whole_lines(written) if action in (None, call["action"])]

    def counts(self) -> dict[str, int]:
        """Return how often each action happened."""
        counts: dict[str, int] = {}
        for call in self.calls():
            counts[call["action"]] = counts.get(call["action"], 0) + 1
        return counts

    def wait_for(self, action: str, times: int = 1) -> None:
        """Return once *action* has begun as often as said."""
        wait_until(lambda: len(self.calls(action)) >= times, f"{action!r} to be done {times} times")


def _whole_lines(written: bytes) -> list[dict[str, Any]]:
    # Where a line crosses a page, who reads at that moment sees half of it.
    return [json.loads(line) for line in written.rpartition(b"\n")[0].splitlines()]
