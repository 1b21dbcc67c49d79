"""
One pass on asyncio: performs the effects of its steps, parks them, and leaves the handler when nothing can go on.

Each step runs in a task of its own, so that cancelling the handler never kills a step half-way: it is checkpointed,
then the pass ends. A step that must wait parks. While another step of the run executes, the pass stays alive and a
parked step whose time comes is resumed in place. When the pass is *quiet* and something is parked, it is interrupted:
every parked step raises `RunInterrupt`, the handler unwinds, and its outcome is discarded, whatever it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from . import _context
from ._calls import step_call
from ._core.effects import StepFlow
from ._core.journal import ROOT, Branch, StepIdentity
from ._core.limits import Limits
from ._core.model import Memo
from ._core.retry import RetryPolicy
from ._core.run_flow import QUIET_MAX_SECONDS, Interrupted, longer_quiet, may_wake
from ._drive import adrive
from ._pass import DEADLINE, PARKED, Background, Pass, PassKind
from ._quiet import Quiet, Turns, innermost
from ._task_step import TaskStep
from .engines.base import Claim
from .errors import RunInterrupt

# Loop turns in which what awaited a parked step may ask for its next one; refusing that says nothing about a branch.
UNWINDING_TURNS = 64


class TaskPass(Pass):
    """One execution of an ``async def`` handler; see `Pass`. Created in the handler's task."""

    in_flight: dict[TaskStep, asyncio.Task[None] | None]
    _returned = False
    _cancellations = 0
    _unwinding = _refused = _told_refused = _parked_run = False
    _cut: frozenset[Branch] = frozenset()
    _handler: Awaitable[Any] | None = None
    _patience: asyncio.TimerHandle | None = None

    def __init__(
        self, claim: Claim, engine: Background, policy: RetryPolicy, kind: PassKind, limits: Limits | None = None
    ) -> None:
        super().__init__(claim, engine, policy, kind, limits)
        self.loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = asyncio.current_task(self.loop)
        # In the order in which they began, each with the task that drives it, which the event loop does not keep.
        self.in_flight = {}
        self._parked: dict[asyncio.Future[Memo | None], tuple[Memo, TaskStep]] = {}
        self._quiet = Quiet(self.loop, claim.run.quiet_seconds, self.in_flight, self._parked)

    # Called by the endpoint.

    async def run(self, handler: Callable[[], Awaitable[Any]]) -> Any:
        """
        Run *handler* to its end; steps that still execute then are left to `idle`, parked ones are dropped.

        Returns or raises what the handler did. The outcome counts only if `interrupted` is empty.
        """
        token = _context.scope.set(_context.Scope(self, ROOT, self._task))
        ends_at = self.claim.run.deadline
        deadline = None if ends_at is None else self.clock.call_at(ends_at, partial(self.let_go, DEADLINE))
        self._handler = handler()
        try:
            return await self._handler
        except asyncio.CancelledError as error:
            if self._cancellations:
                raise RunInterrupt(self.interrupted) from None
            if self._task is None or self._task.cancelling():
                self.interrupt("the client went away")
                raise
            # Nobody cancelled the handler: something that it awaited was cancelled, a failure like any other.
            raise RuntimeError("something that the handler awaited was cancelled") from error
        finally:
            _context.scope.reset(token)
            if self.claim.accepted:
                # What it answers does not count if the run was cancelled meanwhile.
                self.claim.look()
            self._handler = None
            self._returned = True
            self._take_cancellations_back()
            for timer in (deadline, self._patience):
                if timer is not None:
                    timer.cancel()
            if not self.interrupted:
                self.over = True
                if self._parked:
                    self._release_parked("the handler has returned")

    async def idle(self) -> None:
        """Wait until no step of this pass executes."""
        await self._quiet.idle()

    async def idle_or_released(self) -> None:
        """Wait until no step of this pass executes, or until it is let go."""
        if not self.released:
            await self._quiet.idle(once=True)

    def interrupt(self, reason: str) -> None:
        """
        Leave the handler: parked steps raise, later ones are refused, executing ones end and are checkpointed.

        A handler that this does not end is cancelled after a while: it may wait for something that will never come.
        """
        if self.interrupted or self.over:
            return
        self.interrupted = reason
        self._unwinding = True
        Turns(self.loop, UNWINDING_TURNS, partial(self._unwound, innermost(self._handler)))
        self._patience = self.loop.call_later(QUIET_MAX_SECONDS, self._cancel_handler)
        self._release_parked(reason)

    def let_go(self, reason: str) -> None:
        """
        Leave the handler at once, without waiting for steps in flight or anything else that it awaits.

        The steps go on in the background; what they return is checkpointed if it still can be.
        """
        self.interrupt(reason)
        if self.released:
            return
        self.released = True
        # A handler that has returned, and waits for its steps, is interrupted by this too.
        self.interrupted = self.interrupted or reason
        for executing in self.in_flight:
            executing.leave(RunInterrupt(reason))
        self._quiet.release()
        Turns(self.loop, UNWINDING_TURNS, self._cancel_handler)

    def _cancel_handler(self) -> None:
        if not self._returned and self._task is not None:
            self._cancellations += 1
            self._task.cancel()

    def _take_cancellations_back(self) -> None:
        # Whatever the handler made of them: what the framework does in its task afterwards is not cancelled.
        if self._task is not None:
            for _ in range(self._cancellations):
                self._task.uncancel()

    def _interrupt_parked(self) -> None:
        # A step that the handler has cancelled, as a timeout or a task group does, holds up nothing.
        if not all(executing.result.cancelled() for _, executing in self._parked.values()):
            self.interrupt(PARKED)

    def how_interrupted(self, error: BaseException | None) -> Interrupted:
        """Return what the next pass must know; *error* is what left the handler."""
        told = super().how_interrupted(error)
        self._told_refused = self._refused
        return Interrupted(told.wake_times, self._refused, told.progressed, told.group_unwound)

    def parked_run(self) -> None:
        """Note that the run waits now: from here on a refused branch makes it due at once."""
        self._parked_run = True
        if self._refused and not self._told_refused:
            # The branch asked while the run was being parked.
            self._wake_run()

    # Called by the step functions.

    call_of = staticmethod(step_call)

    def perform(
        self, step: StepIdentity, branch: Branch, flow: StepFlow, call: Callable[[], Awaitable[Any]]
    ) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that drives one step to its result, its error or `RunInterrupt`."""
        performing = self._perform(step, branch, flow, call)
        # What Python says of one that nobody awaits: "coroutine 'inngest_durable.step charge' was never awaited".
        performing.__qualname__ = f"inngest_durable.step {step.key}"  # type: ignore[attr-defined]  # a coroutine has it
        return performing

    async def _perform(
        self, step: StepIdentity, branch: Branch, flow: StepFlow, call: Callable[[], Awaitable[Any]]
    ) -> Any:
        if self.interrupted or self.over:
            flow.close()
            self._refuse(branch)
        loop, quiet = self.loop, self._quiet
        try:
            effect = next(flow)
        except StopIteration as memoized:
            quiet.asked()
            return memoized.value
        except Exception:
            quiet.asked()
            raise
        if asyncio.current_task(loop) is not self._task:
            quiet.has_branches = True
        if not self.claim.accepted:
            self.claim.accept_soon()
        if self._parked:
            quiet.begin()
        executing = TaskStep(self, step, branch, call)
        # Before its task is made: where tasks begin at once, the step may end in that call.
        self.in_flight[executing] = None
        driver = loop.create_task(adrive(flow, effect, executing))
        if executing in self.in_flight:
            self.in_flight[executing] = driver
        try:
            return await executing.result
        except RunInterrupt:
            self._expect_interrupt()
            raise

    # Called by the executing steps.

    def step_ended(self, executing: TaskStep) -> None:
        """Note that a step no longer executes."""
        del self.in_flight[executing]
        if self._parked or self._quiet.is_awaited:
            self._quiet.end(self._interrupt_parked if self._parked else None)

    async def park(self, memo: Memo, executing: TaskStep) -> Memo | None:
        """
        Wait until ``memo.wake_at``, or until something else has completed the step, and return its memo then.

        Raises:
            RunInterrupt: The pass is left before that.
        """
        wake_at = memo.wake_at or 0.0
        if self.over or self.interrupted:
            self._wake_times += (wake_at,)
            self._raise_interrupt()
        if wake_at <= self.clock.now():
            return None
        future: asyncio.Future[Memo | None] = self.loop.create_future()
        timers = [self.clock.call_at(wake_at, partial(_resume, future, None))]
        if memo.op.waits_for_others:
            timers.append(self.claim.listen(memo.key, partial(_resume, future)))
        self._parked[future] = memo, executing
        self._quiet.end(self._interrupt_parked if self._parked else None)
        try:
            final = await future
        finally:
            for timer in timers:
                timer.cancel()
            self._parked.pop(future, None)
            self._quiet.begin()
        if self.over or self.interrupted:
            # Its time came at the moment when the pass ended: the next pass goes on with it.
            self._wake_times += (wake_at,)
            self._raise_interrupt()
        if final is not None:
            self.claim.seen(memo.key)
        return final

    def _release_parked(self, reason: str) -> None:
        for future, (memo, executing) in self._parked.items():
            self._wake_times += (memo.wake_at or 0.0,)
            self._cut = self._cut.union(executing.branch.ancestry())
            if not future.done():
                future.set_exception(RunInterrupt(reason))

    def _refuse(self, branch: Branch) -> None:
        # A branch that waited for a parked step asks again because it was cut off; any other was between two steps.
        if self.interrupted == PARKED and (branch not in self._cut or not self._unwinding):
            self._refused = True
            if self._parked_run:
                self._wake_run()
        self._expect_interrupt()
        self._raise_interrupt()

    def _expect_interrupt(self) -> None:
        # A branch that nobody awaits any more ends with it, and asyncio would log that as an error.
        task = asyncio.current_task(self.loop)
        if task is not None and task is not self._task:
            task.add_done_callback(_retrieve_interrupt)

    def _wake_run(self) -> None:
        quiet = self.claim.run.quiet_seconds
        if self._parked_run and may_wake(quiet, self.journal.progressed):
            self._parked_run = False
            self._engine.spawn(self._wake(longer_quiet(quiet)))

    async def _wake(self, quiet_seconds: float) -> None:
        await self.claim.wake(quiet_seconds)

    def _unwound(self, awaited: object) -> None:
        self._unwinding = False
        if self.interrupted == PARKED and awaited is not None and innermost(self._handler) is awaited:
            # The interrupt does not reach it: it is between two steps, or waits for what a parked branch should bring.
            self._refused = True
            self._cancel_handler()

    def _current_task(self) -> object:
        return asyncio.current_task(self.loop)


def _resume(future: asyncio.Future[Memo | None], final: Memo | None) -> None:
    if not future.done():
        future.set_result(final)


def _retrieve_interrupt(task: asyncio.Task[Any]) -> None:
    # By its private name first: to ask a task for its exception counts as having seen it, whatever it is.
    if isinstance(getattr(task, "_exception", None), RunInterrupt):
        task.exception()
