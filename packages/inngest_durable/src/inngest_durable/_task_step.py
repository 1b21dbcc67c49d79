"""One step of a pass on asyncio while it executes: performs its effects, and tells the handler how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from . import _context
from ._core.effects import Call, Effect, Save, Wait
from ._core.journal import StepIdentity
from ._pass import FENCED
from .engines.base import FencedError
from .errors import RunInterrupt

if TYPE_CHECKING:
    from ._task_pass import TaskPass


class TaskStep(_context.Scope, eq=False):
    """
    One executing step: the scope of its function, and the `_drive.Performer` of its effects.

    Everything that performing needs is in this one object: allocations are a good part of what a step costs.

    Attributes:
        call: Calls the step's function once.
        result: What the handler waits for. Cancelling it does not reach the step.
    """

    if TYPE_CHECKING:
        current_pass: TaskPass
        step: StepIdentity

    call: Callable[[], Awaitable[Any]]
    result: asyncio.Future[Any]

    def perform(self, effect: Effect) -> Awaitable[Any]:
        """Begin *effect*; await what is returned for its result."""
        # Not by `match`, which takes twice as long: this is the hot path.
        if isinstance(effect, Call):
            # In the context of the step's task, which is its own copy of the handler's.
            _context.scope.set(self)
            self.current_pass.claim.begin_attempt(self.step.key, effect.attempt)
            return self.call()
        if isinstance(effect, Save):
            return self.current_pass.save(effect.memo)
        if isinstance(effect, Wait):
            return self.current_pass.park(effect.memo, self)
        return self.current_pass.claim.save_with(effect.memo, effect.along)

    def succeeded(self, value: Any) -> None:
        """Give the handler what the step returns."""
        if not self.result.done():
            self.result.set_result(value)
        self.current_pass.step_ended(self)

    def failed(self, error: BaseException) -> None:
        """Let *error* be raised where the handler waits."""
        if isinstance(error, asyncio.CancelledError):
            # The loop closes: the step is not finished, so nothing of this attempt is recorded.
            self.result.cancel()
        elif isinstance(error, FencedError):
            self.current_pass.interrupt(FENCED)
            self.leave(RunInterrupt(FENCED))
        else:
            self.leave(error)
        self.current_pass.step_ended(self)

    def leave(self, error: BaseException) -> None:
        """Raise *error* where the handler waits; the step itself goes on, if it has not ended."""
        if self.result.done():
            return
        self.result.set_exception(error)
        if isinstance(error, RunInterrupt):
            # Code that awaits it sees the error; an orphaned branch need not.
            self.result.exception()
