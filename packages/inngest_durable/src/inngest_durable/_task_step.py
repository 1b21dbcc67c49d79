"""One step of a pass on asyncio while it executes: performs its effects, and tells the handler how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from . import _context
from ._core.effects import Call, Effect, Save, SaveWith, Wait
from ._core.journal import Branch, StepIdentity
from ._pass import FENCED
from .engines.base import FencedError
from .errors import RunInterrupt

if TYPE_CHECKING:
    from ._task_pass import TaskPass


class TaskStep:
    """
    One executing step; see `_drive.Performer`.

    Everything that performing needs is in this one object: allocations are a good part of what a step costs.

    Args:
        current: The pass.
        step: Which step.
        branch: The branch that asked for it; also an attribute.
        call: Calls the step's function once.

    Attributes:
        result: What the handler waits for. Cancelling it does not reach the step.
    """

    __slots__ = ("_call", "_current", "_step", "branch", "result")

    def __init__(
        self, current: TaskPass, step: StepIdentity, branch: Branch, call: Callable[[], Awaitable[Any]]
    ) -> None:
        self.result: asyncio.Future[Any] = current.loop.create_future()
        self._current = current
        self._step = step
        self.branch = branch
        self._call = call

    def perform(self, effect: Effect) -> Awaitable[Any]:
        """Begin *effect*; await what is returned for its result."""
        current = self._current
        match effect:
            case Call():
                step, branch = self._step, self.branch
                # In the context of the step's task, which is its own copy of the handler's.
                _context.scope.set(_context.Scope(current, branch, None, branch.prefix, step))
                current.claim.look()
                if current.interrupted:
                    raise RunInterrupt(current.interrupted)
                current.claim.begin_attempt(step.key, effect.attempt)
                return self._call()
            case Save():
                return current.save(effect.memo)
            case Wait():
                return current.park(effect.memo, self)
            case SaveWith():
                return current.claim.save_with(effect.memo, effect.along)

    def succeeded(self, value: Any) -> None:
        """Give the handler what the step returns."""
        if not self.result.done():
            self.result.set_result(value)
        self._current.step_ended(self)

    def failed(self, error: BaseException) -> None:
        """Let *error* be raised where the handler waits."""
        if isinstance(error, asyncio.CancelledError):
            # The loop closes: the step is not finished, so nothing of this attempt is recorded.
            self.result.cancel()
        elif isinstance(error, FencedError):
            self._current.interrupt(FENCED)
            self.leave(RunInterrupt(FENCED))
        else:
            self.leave(error)
        self._current.step_ended(self)

    def leave(self, error: BaseException) -> None:
        """Raise *error* where the handler waits; the step itself goes on, if it has not ended."""
        if self.result.done():
            return
        self.result.set_exception(error)
        if isinstance(error, RunInterrupt):
            # Code that awaits it sees the error; an orphaned branch need not.
            self.result.exception()
