"""
One pass: an execution of a handler over the journal of its run. This is what asyncio and threads have in common.

`_task_pass` adds how steps are performed on an event loop; in threads, `_thread_pass` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sized
from functools import partial
from typing import Any, Literal, NoReturn, Protocol

from . import _context
from ._core.effects import StepFlow
from ._core.journal import Branch, Journal, StepIdentity
from ._core.limits import Limits, exceeded
from ._core.model import Memo, RecordedRequest, Run
from ._core.retry import RetryPolicy
from ._core.run_flow import Interrupted
from .engines.base import Claim, Clock
from .errors import LimitExceededError, RunInterrupt

logger = logging.getLogger("inngest_durable")

# Why a pass was interrupted, where the reason decides what follows.
PARKED = "a step waits"
DEADLINE = "the run's deadline has passed"
FENCED = "another pass owns the run"
CLIENT_GONE = "the client went away"
CANCELLED = "the run was cancelled"
UNWRITABLE = "runs cannot be recorded at the moment"

# How old a look at what other processes have cancelled may be when an attempt of a step begins.
LOOK_SECONDS = 0.02

PassKind = Literal["first", "reentry"]

_DEFAULT_LIMITS = Limits()


class Background(Protocol):
    """What a pass needs of the engine."""

    clock: Clock

    def spawn(self, work: Coroutine[Any, Any, Any]) -> object:
        """Run *work* in the background, watched by the engine."""


class Endpoints(Protocol):
    """What a step that calls another endpoint needs of the client."""

    def request_for(
        self, endpoint: Callable[..., Any] | str, params: Mapping[str, Any], body: Any, caller: RecordedRequest
    ) -> tuple[str, RecordedRequest, float | None]:
        """
        Return an endpoint's ID, a request to it, and the seconds its run may take.

        Raises `StepUsageError` if there is no such endpoint, or none of its routes takes these *params*.
        """


class Pass(ABC):
    """
    One execution of a handler over the journal of its run.

    Args:
        claim: The right to write to the run.
        engine: Has the clock, and runs work in the background.
        policy: Retries of steps that have no policy of their own.
        kind: Whether this pass runs inside the client's request.
        limits: How much the run may hold.

    Attributes:
        loop: The event loop of the engine.
        interrupted: Why the handler has to be left, or empty; if not empty, its outcome does not count.
        over: Whether the handler has returned.
        released: Whether it was let go, so that nobody waits for its steps.
        journal_type: What keeps the memos.
        in_flight: The steps that are under way, or a number that is 0 if none is.
        endpoints: Finds endpoints for steps that call them.
    """

    loop: asyncio.AbstractEventLoop
    interrupted = ""
    over = released = False
    # What few passes need is made when they need it: what a request leaves behind is a tenth of what it costs.
    _wake_times: tuple[float, ...] = ()
    journal_type: type[Journal] = Journal
    in_flight: Sized | int
    endpoints: Endpoints

    def __init__(
        self, claim: Claim, engine: Background, policy: RetryPolicy, kind: PassKind, limits: Limits | None = None
    ) -> None:
        self.claim = claim
        self.clock = engine.clock
        self.policy = policy
        self.kind: PassKind = kind
        self.journal = self.journal_type(
            claim.run.id, claim.memos, self.clock.now, random.random, limits or _DEFAULT_LIMITS
        )
        self._engine = engine

    @abstractmethod
    def interrupt(self, reason: str) -> None:
        """Leave the handler: parked steps raise, later ones are refused, executing ones end and are checkpointed."""

    @abstractmethod
    def let_go(self, reason: str) -> None:
        """
        Leave the handler at once, without waiting for steps in flight or anything else that it awaits.

        The steps go on in the background; what they return is checkpointed if it still can be.
        """

    @abstractmethod
    async def idle(self) -> None:
        """Wait until no step of this pass executes."""

    def how_interrupted(self, error: BaseException | None) -> Interrupted:
        """Return what the next pass must know; *error* is what left the handler."""
        wake_times = self._wake_times if self.interrupted == PARKED else ()
        return Interrupted(wake_times, False, self.journal.progressed, isinstance(error, BaseExceptionGroup))

    def parked_run(self) -> None:  # noqa: B027  # nothing to do where no branch can be cut off
        """Note that the run waits now."""

    def start(
        self, scope: _context.Scope, step_id: str, make_fingerprint: Callable[[], str]
    ) -> tuple[StepIdentity, Branch]:
        """Take the key of a step, in the order in which the handler's code calls them."""
        branch, task = scope.branch, self._current_task()
        if scope.task is task:
            step = self.journal.identify(step_id, branch, make_fingerprint, self.in_flight)
            if branch.prefix == scope.prefix:
                return step, branch
        else:
            # The context was copied into a task started later: a branch of its own, named by its first step.
            branch = Branch(branch, scope.prefix)
            step = self.journal.identify(step_id, branch, make_fingerprint)
        _context.scope.set(_context.Scope(self, branch, task, branch.prefix))
        return step, branch

    def new_child(
        self, step: StepIdentity, endpoint: Callable[..., Any] | str, params: Mapping[str, Any], body: Any
    ) -> Run:
        """
        Return the run that *step* invokes.

        Raises:
            StepUsageError: There is no such endpoint, or none of its routes takes these *params*.
            LimitExceededError: The *body* is larger than that of a client's request may be.
        """
        endpoint_id, request, timeout_seconds = self.endpoints.request_for(
            endpoint, params, body, self.claim.run.request
        )
        size, most = len(request.body), self.journal.limits.request_body
        if size > most:
            raise LimitExceededError(exceeded("request_body", size, most), step.run_id, step.key)
        return self.claim.new_child(step.key, endpoint_id, request, timeout_seconds)

    def progress(self, key: str, text: str, data: str) -> None:
        """Report how far the executing attempt of a step is; *data* is a JSON object or empty. From any thread."""
        tell = partial(self.claim.progress, key, text, data, self.clock.now())
        if _running_loop() is self.loop:
            tell()
        else:
            # It arrives before the end of its attempt, which comes the same way.
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(tell)

    @abstractmethod
    def call_of(
        self, step: StepIdentity, fn: Callable[..., Any], args: Any, kwargs: Any, timeout_seconds: float | None
    ) -> Callable[[], Any]:
        """Return what calls *fn* once each time it is called: one attempt of the step."""

    @abstractmethod
    def perform(self, step: StepIdentity, branch: Branch, flow: StepFlow, call: Callable[[], Any]) -> Any:
        """Drive one step; return its result, or raise its error or `RunInterrupt`. On asyncio, as a coroutine."""

    @abstractmethod
    def _current_task(self) -> object:
        """Return what runs the calling code: the asyncio task, or the thread."""

    def save(self, memo: Memo) -> Awaitable[None]:
        """Checkpoint *memo*, and log the failure that it records; resolves when it is durable."""
        if memo.failure is not None:
            self._log_failure(memo, memo.failure.traceback)
        return self.claim.save(memo)

    def _log_failure(self, memo: Memo, traceback: str) -> None:
        left = None if memo.wake_at is None else max(0.0, memo.wake_at - self.clock.now())
        then = "no attempt is left" if left is None else f"next attempt in {left:.3f} s"
        run_id = self.claim.run.id
        logger.warning("step %r failed at attempt %d; %s [run=%s]\n%s", memo.key, memo.attempt, then, run_id, traceback)

    def _raise_interrupt(self) -> NoReturn:
        raise RunInterrupt(self.interrupted or "the handler has returned")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
