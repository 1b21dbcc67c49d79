"""
One pass in threads: performs the effects of its steps where they are called, and blocks while they are written.

A step that must wait raises `RunInterrupt` at once, so a waiting run holds no thread. Branches of a ``group.parallel``
are branches of their own: each goes as far as it can, and the handler is left when all of them have ended.

A thread cannot be stopped. What interrupts the pass (shutdown, the run's deadline, a disk that cannot be written) is
seen by its next step; a thread that waits for a checkpoint is let go, one in a step's function is not.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from . import _context
from ._calls import is_coroutine_function, step_call
from ._core.effects import Call, Effect, Save, SaveWith, StepFlow, Wait
from ._core.journal import ROOT, Branch, StepIdentity
from ._core.limits import Limits
from ._core.model import Memo
from ._core.retry import RetryPolicy
from ._core.run_flow import timed_out
from ._drive import drive
from ._pass import DEADLINE, FENCED, LOOK_SECONDS, PARKED, Background, Pass, PassKind
from ._portal import begin, call_on
from ._thread_branches import SharedJournal, ThreadBranch
from ._threads import as_exception
from .engines.base import Claim, FencedError
from .errors import RunInterrupt, StepUsageError

T = TypeVar("T")


class ThreadPass(Pass):
    """One execution of a ``def`` handler; see `Pass`. Created on the engine's event loop."""

    in_flight: int
    journal_type = SharedJournal

    def __init__(
        self, claim: Claim, engine: Background, policy: RetryPolicy, kind: PassKind, limits: Limits | None = None
    ) -> None:
        super().__init__(claim, engine, policy, kind, limits)
        self.loop = asyncio.get_running_loop()
        self._cut: set[Branch] = set()
        # How many steps execute or checkpoints are being written, and who waits for the last. Guarded by the lock.
        self._lock = threading.Lock()
        self.in_flight = 0
        self._looked_at = self.clock.now()
        self._idle: list[asyncio.Future[None]] = []
        # Threads that wait for a checkpoint. Used on the event loop.
        self._blocked: set[Future[Any]] = set()
        ends_at = claim.run.deadline
        self._deadline = None if ends_at is None else self.clock.call_at(ends_at, self._time_out)

    # Called by the adapter, in the handler's thread.

    def run(self, handler: Callable[[], T]) -> T:
        """
        Run *handler* to its end, then wait for the steps that its other threads execute.

        Returns or raises what the handler did. The outcome counts only if `interrupted` is empty.
        """
        token = _context.scope.set(_context.Scope(self, ROOT, threading.current_thread()))
        try:
            return handler()
        except RunInterrupt:
            # Another thread of the handler has parked, and this one waited for it.
            self.interrupt(PARKED)
            raise
        finally:
            _context.scope.reset(token)
            if self._deadline is not None:
                self.loop.call_soon_threadsafe(self._deadline.cancel)
            # What it answers does not count if the run was cancelled meanwhile.
            self._look_if_late()
            with self._lock:
                self.over = not self.interrupted
            if self.in_flight:
                call_on(self.loop, self._idle_or_released)

    # Called on the engine's event loop.

    async def idle(self) -> None:
        """Wait until no step of this pass executes."""
        while self.in_flight:
            await self._wait_idle()

    async def _idle_or_released(self) -> None:
        if not self.released:
            await self._wait_idle()

    async def _wait_idle(self) -> None:
        with self._lock:
            if not self.in_flight:
                return
            future: asyncio.Future[None] = self.loop.create_future()
            self._idle.append(future)
        await future

    def interrupt(self, reason: str) -> None:
        """Leave the handler: its next step raises; one that executes ends and is checkpointed. From any thread."""
        with self._lock:
            if not self.over:
                self.interrupted = self.interrupted or reason

    def let_go(self, reason: str) -> None:
        """
        Leave the handler without waiting for checkpoints, which are still written when they can be.

        A thread in a step's function, or in other code of the handler, goes on to its next step.
        """
        self.interrupt(reason)
        if self.released:
            return
        self.released = True
        # A handler that has returned, and waits for its steps, is interrupted by this too.
        self.interrupted = self.interrupted or reason
        for durable in list(self._blocked):
            durable.set_exception(RunInterrupt(reason))
        self._tell_idle()

    def _time_out(self) -> None:
        self.let_go(DEADLINE)
        if self.claim.accepted:
            # Whoever waits for the answer gets it now, although the handler's thread may go on for a while.
            self._engine.spawn(self._end_at_deadline())

    async def _end_at_deadline(self) -> None:
        with suppress(FencedError):
            await self.claim.finish(timed_out(self.claim.run))

    # Called by the step functions, in the handler's thread and those that it started.

    def start(
        self, scope: _context.Scope, step_id: str, make_fingerprint: Callable[[], str]
    ) -> tuple[StepIdentity, Branch]:
        """Take the key of a step, in the order of the calls; between the branches of a group, from left to right."""
        branch = scope.branch
        if not isinstance(branch, ThreadBranch) or branch.prefix or scope.task is not self._current_task():
            return super().start(scope, step_id, make_fingerprint)
        branch.wait_for_place()
        try:
            return super().start(scope, step_id, make_fingerprint)
        finally:
            branch.place()

    def call_of(
        self, step: StepIdentity, fn: Callable[..., Any], args: Any, kwargs: Any, timeout_seconds: float | None
    ) -> Callable[[], Any]:
        """Return what calls *fn* once: in this thread, or in one of the engine's if an attempt has a timeout."""
        if is_coroutine_function(fn):
            raise _asynchronous(fn, step)
        plain = partial(_plain_result, step, fn)
        if timeout_seconds is None:
            return partial(plain, *args, **kwargs)
        return partial(call_on, self.loop, step_call(step, partial(_contained, plain), args, kwargs, timeout_seconds))

    def perform(self, step: StepIdentity, branch: Branch, flow: StepFlow, call: Callable[[], Any]) -> Any:
        """Drive one step in this thread; return its result, or raise its error or `RunInterrupt`."""
        # Counted together with the check: a handler that returns meanwhile, in another thread, waits for the step.
        with self._lock:
            is_refused = bool(self.interrupted) or self.over or branch in self._cut
            self.in_flight += not is_refused
        if is_refused:
            flow.close()
            self._raise_interrupt()
        try:
            return self._drive(step, branch, flow, call)
        finally:
            self._ended()

    def branch_of(self, scope: _context.Scope) -> Branch:
        """Return the branch of the calling code."""
        return scope.branch if scope.task is self._current_task() else Branch(scope.branch, scope.prefix)

    def cut(self, branch: Branch) -> RunInterrupt:
        """Note that *branch* (if the handler's own, the whole pass) cannot go on in this pass; return what to raise."""
        if branch is ROOT:
            self.interrupt(PARKED)
        else:
            self._cut.add(branch)
        return RunInterrupt(self.interrupted or PARKED)

    def is_cut(self, branch: Branch) -> bool:
        """Whether *branch* cannot go on in this pass."""
        return branch in self._cut

    def _drive(self, step: StepIdentity, branch: Branch, flow: StepFlow, call: Callable[[], Any]) -> Any:
        try:
            effect = next(flow)
        except StopIteration as memoized:
            return memoized.value
        token = _context.scope.set(_context.Scope(self, branch, None, branch.prefix, step))
        try:
            return drive(flow, effect, partial(self._perform, step.key, branch, call))
        except FencedError:
            self.interrupt(FENCED)
            raise RunInterrupt(FENCED) from None
        finally:
            _context.scope.reset(token)

    def _perform(self, key: str, branch: Branch, call: Callable[[], Any], effect: Effect) -> Any:
        match effect:
            case Call():
                self._look_if_late()
                if self.interrupted:
                    self._raise_interrupt()
                self.loop.call_soon_threadsafe(self._begin_attempt, key, effect.attempt)
                return call()
            case Save():
                return self._checkpoint(partial(self.save, effect.memo))
            case Wait():
                return self._wait(effect.memo, branch)
            case SaveWith():
                return self._checkpoint(partial(self.claim.save_with, effect.memo, effect.along))

    def _look_if_late(self) -> None:
        """Wait for a look. Not where steps follow each other closely: there the beginning of one looks for the next."""
        now, before = self.clock.now(), self._looked_at
        self._looked_at = now
        if self.claim.accepted and not 0.0 <= now - before < LOOK_SECONDS:
            call_on(self.loop, self._look)

    async def _look(self) -> None:
        self.claim.look()

    def _begin_attempt(self, key: str, attempt: int) -> None:
        # The run is accepted while its first step executes.
        self.claim.accept_soon()
        self.claim.look()
        self.claim.begin_attempt(key, attempt)

    def _checkpoint(self, save: Callable[[], Awaitable[T]]) -> T:
        durable: Future[T] = Future()
        self.loop.call_soon_threadsafe(self._write, save, durable)
        return durable.result()

    def _write(self, save: Callable[[], Awaitable[T]], durable: Future[T]) -> None:
        if self.released:
            # The thread leaves; what its step did is written when that is possible again.
            durable.set_exception(RunInterrupt(self.interrupted))
        else:
            self._blocked.add(durable)
            durable.add_done_callback(self._blocked.discard)
        self._begun()
        begin(save, durable, self._ended)

    def _wait(self, memo: Memo, branch: Branch) -> None:
        wake_at = memo.wake_at or 0.0
        if not (self.interrupted or self.over) and wake_at <= self.clock.now():
            return
        with self._lock:
            self._wake_times += (wake_at,)
        raise self.cut(branch)

    def _begun(self) -> None:
        with self._lock:
            self.in_flight += 1

    def _ended(self) -> None:
        with self._lock:
            self.in_flight -= 1
            is_awaited = not self.in_flight and self._idle
        if is_awaited:
            self.loop.call_soon_threadsafe(self._tell_idle)

    def _tell_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for future in idle:
            if not future.done():
                future.set_result(None)

    def _current_task(self) -> object:
        return threading.current_thread()


def _contained(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call *call* in a thread of the engine, whose loop a SystemExit would end."""
    try:
        return call(*args, **kwargs)
    except RunInterrupt:
        raise
    except BaseException as error:
        raise as_exception(error, "the step function")  # noqa: B904  # most often it is the same


def _plain_result(step: StepIdentity, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = fn(*args, **kwargs)
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            # Nobody will await it, and Python would warn of that.
            result.close()
        raise _asynchronous(fn, step)
    return result


def _asynchronous(fn: Callable[..., Any], step: StepIdentity) -> StepUsageError:
    name = getattr(fn, "__qualname__", type(fn).__name__)
    return StepUsageError(
        f"{name} is `async def`, and step {step.key!r} runs in a thread: make it a `def` function, or call the "
        "service by its blocking client",
        step.run_id,
        step.key,
    )
