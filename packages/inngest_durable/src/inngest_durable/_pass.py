"""
One pass on asyncio: performs the effects of its steps, parks them, and leaves the handler when nothing can go on.

Each step runs in a task of its own, so that cancelling the handler never kills a step half-way: it is checkpointed,
then the pass ends. A step that must wait parks. While another step of the run executes, the pass stays alive and a
parked step whose time comes is resumed in place. When the pass is *quiet* and something is parked, it is interrupted:
every parked step raises `RunInterrupt`, the handler unwinds, and its outcome is discarded, whatever it is.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from . import _context
from ._core.effects import Call, Effect, Save, StepFlow, Wait
from ._core.journal import Branch, Journal, StepIdentity
from ._core.limits import Limits
from ._core.model import Memo
from ._core.retry import RetryPolicy
from ._core.run_flow import Interrupted, longer_quiet, may_wake
from ._drive import adrive
from ._quiet import Quiet, Turns
from .engines.base import Claim, Clock, FencedError
from .errors import RunInterrupt

logger = logging.getLogger("inngest_durable")

T = TypeVar("T")

# Loop turns in which what awaited a parked step may ask for its next one; such a refusal says nothing of a branch.
UNWINDING_TURNS = 64


# Why a pass was interrupted, where the reason decides what follows.
PARKED = "parked"
DEADLINE = "the run's deadline has passed"
FENCED = "another pass owns the run"
UNWRITABLE = "the database cannot be written"

PassKind = Literal["first", "reentry"]


class Background(Protocol):
    """What a pass needs of the engine."""

    clock: Clock

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* in the background, watched by the engine."""


class Pass:
    """
    One execution of a handler over the journal of its run.

    Args:
        claim: The right to write to the run.
        engine: Gives the time, and runs work in the background.
        policy: Retries of steps that have no policy of their own.
        kind: Whether this pass runs inside the client's request.
        limits: How much the run may hold.
    """

    def __init__(
        self, claim: Claim, engine: Background, policy: RetryPolicy, kind: PassKind, limits: Limits | None = None
    ) -> None:
        self.claim = claim
        self.clock = engine.clock
        self.policy = policy
        self.kind: PassKind = kind
        self.journal = Journal(
            claim.run.id, claim.memos, now=self.clock.now, jitter=random.random, limits=limits or Limits()
        )
        self.interrupted = ""
        self.over = False
        self.released = False
        self._returned = False
        self._cancelled = False
        self._spawn = engine.spawn
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = asyncio.current_task()
        self._root = Branch()
        self._quiet = Quiet(self._loop, claim.run.quiet_seconds)
        self._parked: dict[asyncio.Future[None], tuple[Memo, Branch]] = {}
        self._steps: dict[asyncio.Task[None], asyncio.Future[Any]] = {}
        self._progressed = False
        self._wake_times: list[float] = []
        self._cut: set[Branch] = set()
        self._unwinding = False
        self._refused = self._told_refused = False
        self._parked_run = False

    # Called by the endpoint.

    async def run(self, handler: Callable[[], Awaitable[Any]]) -> Any:
        """
        Run *handler* to its end, then wait for the steps that still execute; parked ones are dropped.

        Returns or raises what the handler did. The outcome counts only if `interrupted` is empty.
        """
        token = _context.scope.set(_context.Scope(self, self._root, self._task))
        ends_at = self.claim.run.deadline
        deadline = None if ends_at is None else self.clock.call_at(ends_at, partial(self.let_go, DEADLINE))
        try:
            return await handler()
        except asyncio.CancelledError as error:
            if self._cancelled and self._task is not None:
                self._task.uncancel()
                raise RunInterrupt(self.interrupted) from None
            if self._task is None or self._task.cancelling():
                self.interrupt("the client went away")
                raise
            # Nobody cancelled the handler: it awaited something that was. That is its failure like any other.
            raise RuntimeError("something that the handler awaited was cancelled") from error
        finally:
            _context.scope.reset(token)
            self._returned = True
            if deadline is not None:
                deadline.cancel()
            if not self.interrupted:
                self.over = True
                self._release_parked("the handler has returned")

    async def idle(self) -> None:
        """Wait until no step of this pass executes."""
        await self._quiet.idle()

    async def idle_or_released(self) -> None:
        """Wait until no step of this pass executes, or until it is let go."""
        if not self.released:
            await self._quiet.idle(once=True)

    def interrupt(self, reason: str) -> None:
        """Leave the handler: parked steps raise, later ones are refused, executing ones end and are checkpointed."""
        if self.interrupted or self.over:
            return
        self.interrupted = reason
        self._unwinding = True
        Turns(self._loop, UNWINDING_TURNS, self._unwound)
        self._release_parked(reason)

    def let_go(self, reason: str) -> None:
        """
        Leave the handler at once: without waiting for steps in flight, or for what else it awaits.

        The steps go on in the background; what they return is checkpointed if it still can be.
        """
        self.interrupt(reason)
        if self.released:
            return
        self.released = True
        # A handler that has returned, and waits for its steps, is interrupted by this too.
        self.interrupted = self.interrupted or reason
        for result in self._steps.values():
            if not result.done():
                result.set_exception(RunInterrupt(reason))
        self._quiet.release()
        Turns(self._loop, UNWINDING_TURNS, self._cancel_handler)

    def _cancel_handler(self) -> None:
        if not self._returned and self._task is not None:
            self._cancelled = True
            self._task.cancel()

    def _interrupt_parked(self) -> None:
        self.interrupt(PARKED)

    def how_interrupted(self, error: BaseException | None) -> Interrupted:
        """Tell what the next pass must know; *error* is what left the handler."""
        wake_times = self._wake_times if self.interrupted == PARKED else []
        self._told_refused = self._refused
        return Interrupted(wake_times, self._refused, self._progressed, isinstance(error, BaseExceptionGroup))

    def parked_run(self) -> None:
        """Note that the run now waits: from here on a refused branch makes it due at once."""
        self._parked_run = True
        if self._refused and not self._told_refused:
            # It asked while the run was put to wait.
            self._wake_run()

    # Called by the step functions.

    def start(
        self, scope: _context.Scope, step_id: str, make_fingerprint: Callable[[], str]
    ) -> tuple[StepIdentity, Branch]:
        """Take the key of a step, in the order in which the handler's code calls them."""
        task = asyncio.current_task()
        branch = scope.branch
        if scope.task is not task:
            # The context was copied into a task started since: a branch of its own, named by its first step.
            branch = Branch(scope.branch, scope.prefix)
        step = self.journal.identify(step_id, branch, make_fingerprint)
        if branch is not scope.branch or branch.prefix != scope.prefix:
            _context.scope.set(_context.Scope(self, branch, task, branch.prefix))
        return step, branch

    async def perform(
        self, step: StepIdentity, branch: Branch, flow: StepFlow, call: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Drive one step in a task of its own; return its result, or raise its error or `RunInterrupt`."""
        if self.interrupted or self.over:
            flow.close()
            self._refuse(branch)
        memo = self.journal.lookup(step)
        if memo is not None and memo.is_final:
            self._quiet.asked()
            return await adrive(flow, _nothing_to_perform)
        if asyncio.current_task() is not self._task:
            self._quiet.has_branches = True
        self.claim.accept_soon()
        self._quiet.begin()
        result: asyncio.Future[Any] = self._loop.create_future()
        # The task takes a copy of the context: in it, the step's function runs.
        token = _context.scope.set(_context.Scope(self, branch, None, branch.prefix, step))
        task = self._loop.create_task(self._drive(_Performer(self, branch, call), flow, result))
        _context.scope.reset(token)
        self._steps[task] = result
        return await result

    async def _drive(self, performer: _Performer, flow: StepFlow, result: asyncio.Future[Any]) -> None:
        try:
            value = await adrive(flow, performer)
        except asyncio.CancelledError:
            # The loop closes: the step is not finished, so nothing of this attempt is recorded.
            result.cancel()
            raise
        except BaseException as error:
            if not result.done():
                result.set_exception(error)
                if isinstance(error, RunInterrupt):
                    # Whoever awaits it sees it; an orphaned branch need not.
                    result.exception()
        else:
            if not result.done():
                result.set_result(value)
        finally:
            task = asyncio.current_task()
            if task is not None:
                del self._steps[task]
            self._quiet.end(self._interrupt_parked if self._parked else None)

    async def _save(self, memo: Memo) -> None:
        try:
            await self.claim.save(memo)
        except FencedError:
            self.interrupt(FENCED)
            raise RunInterrupt(FENCED) from None
        self._progressed = True
        self.journal.record(memo)
        if memo.failure is not None:
            _log_failure(self.claim.run.id, memo, self.clock.now())

    async def _park(self, memo: Memo, branch: Branch) -> None:
        wake_at = memo.wake_at or 0.0
        if self.over or self.interrupted:
            self._wake_times.append(wake_at)
            raise RunInterrupt(self.interrupted or "the handler has returned")
        if wake_at <= self.clock.now():
            return
        future: asyncio.Future[None] = self._loop.create_future()
        timer = self.clock.call_at(wake_at, partial(_resume, future))
        self._parked[future] = memo, branch
        self._quiet.end(self._interrupt_parked if self._parked else None)
        try:
            await future
        finally:
            timer.cancel()
            self._parked.pop(future, None)
            self._quiet.begin()
        if self.over or self.interrupted:
            # Its time came in the moment in which the pass ended: the next pass goes on with it.
            self._wake_times.append(wake_at)
            raise RunInterrupt(self.interrupted or "the handler has returned")

    def _release_parked(self, reason: str) -> None:
        for future, (memo, branch) in self._parked.items():
            self._wake_times.append(memo.wake_at or 0.0)
            self._cut.update(branch.ancestry())
            if not future.done():
                future.set_exception(RunInterrupt(reason))

    def _refuse(self, branch: Branch) -> None:
        reason = self.interrupted or "the handler has returned"
        # A branch that waited for a parked step asks again because it was cut off; any other was between two steps.
        if self.interrupted == PARKED and (branch not in self._cut or not self._unwinding):
            self._refused = True
            if self._parked_run:
                self._wake_run()
        raise RunInterrupt(reason)

    def _wake_run(self) -> None:
        quiet = self.claim.run.quiet_seconds
        if self._parked_run and may_wake(quiet, self._progressed):
            self._parked_run = False
            self._spawn(self._wake(longer_quiet(quiet)))

    async def _wake(self, quiet_seconds: float) -> None:
        await self.claim.wake(quiet_seconds)

    def _unwound(self) -> None:
        self._unwinding = False


class _Performer:
    """Performs the effects of one step."""

    __slots__ = ("_branch", "_call", "_pass")

    def __init__(self, current_pass: Pass, branch: Branch, call: Callable[[], Awaitable[Any]]) -> None:
        self._pass = current_pass
        self._branch = branch
        self._call = call

    def __call__(self, effect: Effect) -> Awaitable[Any]:
        match effect:
            case Call():
                return self._call()
            case Save(memo):
                return self._pass._save(memo)
            case Wait(memo):
                return self._pass._park(memo, self._branch)


def _log_failure(run_id: str, memo: Memo, now: float) -> None:
    then = "no attempt is left" if memo.wake_at is None else f"next attempt in {max(0.0, memo.wake_at - now):.3f} s"
    traceback = memo.failure.traceback if memo.failure else ""
    logger.warning("step %r failed at attempt %d; %s [run=%s]\n%s", memo.key, memo.attempt, then, run_id, traceback)


def _resume(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _nothing_to_perform(effect: Effect) -> None:
    raise AssertionError(f"a memoized step asked for {effect}: please report this bug")
