"""
What branches of a run in threads have more than those on asyncio: an order, and a journal that they share.

On asyncio, branches begin in the order in which the handler's code makes them. Threads run as they are scheduled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence, Sized
from typing import Any

from ._core.journal import Branch, Journal, StepIdentity
from ._core.model import Memo


class ThreadBranch(Branch):
    """
    A branch that ``group.parallel`` has started.

    Its first step takes its key after those of the branches to its left, so that equal IDs get the same numbers in each
    pass, however the threads are scheduled.

    Args:
        parent: The branch that started it.
        inherited: Prefix that was in force there.
        siblings: All branches of the group, this one included.
        left: How many of them are to its left.
    """

    __slots__ = ("_left", "_placed", "_siblings")

    def __init__(self, parent: Branch, inherited: str, siblings: Sequence[ThreadBranch], left: int) -> None:
        super().__init__(parent, inherited)
        self._siblings = siblings
        self._left = left
        self._placed = threading.Event()

    def place(self) -> None:
        """Let the branches to the right take their keys: this one has its first, or has ended."""
        self._placed.set()
        if isinstance(self.parent, ThreadBranch) and all(branch._placed.is_set() for branch in self._siblings):
            self.parent.place()

    def wait_for_place(self) -> None:
        """Return when those to the left have their places, and those to the left of the parent if it has none."""
        for branch in self._siblings[: self._left]:
            branch._placed.wait()
        if isinstance(self.parent, ThreadBranch) and not self.parent._placed.is_set():
            self.parent.wait_for_place()


class SharedJournal(Journal):
    """A journal that several threads use at the same time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lock = threading.Lock()

    def identify(
        self, step_id: str, branch: Branch, make_fingerprint: Callable[[], str], in_flight: Sized | int = 0
    ) -> StepIdentity:
        with self._lock:
            return super().identify(step_id, branch, make_fingerprint, in_flight)

    def settle(self, branch: Branch) -> str:
        with self._lock:
            return super().settle(branch)

    def record(self, memo: Memo) -> None:
        with self._lock:
            super().record(memo)
