"""
Pauses that count from when they are on disk: a run that is to wait in its first pass does, however slow this machine.

Where a pause has passed before it is written, the step goes on in place and no client is redirected. On a busy machine
that may be any short one, and a test that waits for the redirect would fail.
"""

from __future__ import annotations

from collections.abc import Awaitable
from weakref import WeakKeyDictionary

import msgspec
import pytest
from inngest_durable._core.journal import Branch
from inngest_durable._core.model import Memo
from inngest_durable._pass import Pass
from inngest_durable._task_pass import TaskPass
from inngest_durable._task_step import TaskStep
from inngest_durable._thread_pass import ThreadPass
from inngest_durable.engines.clock import SystemClock

# Longer than a pass with branches waits for their next steps.
LEAST_SECONDS = 0.2


def count_from_disk(patches: pytest.MonkeyPatch | None = None) -> None:
    """
    Let no step of a first pass go on in place sooner than `LEAST_SECONDS` after its pause was written.

    Args:
        patches: Takes it back; None for as long as the process lives, as in a server process.
    """
    patches = patches or pytest.MonkeyPatch()
    save, park, wait = Pass.save, TaskPass.park, ThreadPass._wait
    # The pauses that were to come when they were about to be written: one may be over before it begins.
    to_come: WeakKeyDictionary[Pass, set[str]] = WeakKeyDictionary()

    def noting_save(self: Pass, memo: Memo) -> Awaitable[None]:
        is_real = self.kind == "first" and isinstance(self.clock, SystemClock)
        if is_real and memo.wake_at is not None and memo.wake_at > self.clock.now():
            to_come.setdefault(self, set()).add(memo.key)
        return save(self, memo)

    def from_now(current: Pass, memo: Memo) -> Memo:
        if memo.wake_at is None or memo.key not in to_come.get(current, ()):
            return memo
        return msgspec.structs.replace(memo, wake_at=max(memo.wake_at, current.clock.now() + LEAST_SECONDS))

    async def unhurried_park(self: TaskPass, memo: Memo, executing: TaskStep) -> Memo | None:
        return await park(self, from_now(self, memo), executing)

    def unhurried_wait(self: ThreadPass, memo: Memo, branch: Branch) -> None:
        wait(self, from_now(self, memo), branch)

    patches.setattr(Pass, "save", noting_save)
    patches.setattr(TaskPass, "park", unhurried_park)
    patches.setattr(ThreadPass, "_wait", unhurried_wait)
