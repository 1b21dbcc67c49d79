"""
The life of one pass, whatever the framework: open it, run the handler, finish it or let the run wait.

A framework adapter calls `Endpoint.serve` from its view. The outcome of the pass is left in the `Holder`, where the
edge finds it once the framework has made its response.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from ._core import http
from ._core.model import Failure, Park, RecordedResponse, RunStatus
from ._core.retry import RetryPolicy
from ._core.run_flow import after_error, after_interrupt, before_deadline, timed_out
from ._core.step_flow import failure_of
from ._pass import CANCELLED, CLIENT_GONE, DEADLINE, FENCED, PARKED, UNWRITABLE, Pass, PassKind
from ._task_pass import TaskPass
from .ending import log_attempt
from .engines.base import Claim, FencedError
from .errors import RequestTooLargeError, RunInterrupt, StepUsageError
from .exchange import EndpointAdapter, Holder, Lifecycle, wait_url
from .idempotency import KeyedRequests

logger = logging.getLogger("inngest_durable")

PassT = TypeVar("PassT", bound=Pass)

# On Python 3.11, accessing an enum member through its class is slow.
_COMPLETED = RunStatus.COMPLETED


class EndpointOptions(Struct, frozen=True):
    """
    Settings of one endpoint.

    Attributes:
        id: Its ID, kept with each of its runs.
        policy: Retries of its steps that have none of their own, and of the handler itself.
        timeout_seconds: How long a run may take from acceptance, sleeps included; None for as long as it takes.
        idempotency_scope: Returns whose idempotency keys these are; None takes the ``Authorization`` header.
    """

    id: str
    policy: RetryPolicy
    timeout_seconds: float | None = None
    idempotency_scope: Callable[[], str] | None = None


class Endpoint:
    """
    A handler wrapped by ``@inngest.endpoint``.

    Args:
        options: Its settings.
        client: Starts the engine that records its runs.
        adapter: The framework's adapter.
    """

    def __init__(self, options: EndpointOptions, client: Lifecycle, adapter: EndpointAdapter) -> None:
        self.id = options.id
        self.policy = options.policy
        self.timeout_seconds = options.timeout_seconds
        self._options = options
        self._client = client
        self._engine = client.engine
        self._adapter = adapter
        self._keyed = KeyedRequests(options, self._engine, adapter)

    async def serve(self, holder: Holder, handler: Callable[[], Awaitable[Any]]) -> Any:
        """
        Run one pass of *handler*.

        Returns what the handler returned, or None when `Holder.substitute` answers in its place; raises what the
        handler raised when the framework is to answer.
        """
        current = await self.open(holder, TaskPass)
        if current is None:
            return None
        result, error = None, None
        try:
            try:
                result = await current.run(handler)
            except (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit):
                # GeneratorExit: the loop was closed under the handler, and nothing can be awaited any more.
                raise
            except BaseException as raised:
                error = raised
            if current.in_flight:
                await current.idle_or_released()
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            self.abandon(current)
            raise
        if error is None and not current.interrupted:
            self.completed(holder, current)
            return result
        await self.close(holder, current, error)
        return None

    async def open(self, holder: Holder, pass_type: type[PassT]) -> PassT | None:
        """
        Begin a pass of the request that *holder* carries; None when it is answered without one.

        Raises `StepUsageError` inside a pass: a request has one pass, and its run one endpoint.
        """
        if (outer := holder.current_pass) is not None:
            run = outer.claim.run
            raise StepUsageError(
                f"endpoint {self.id!r} was called as a function in a pass of {run.endpoint!r}: use step.invoke, or let "
                "both call a function that is no endpoint",
                run.id,
            )
        claim = holder.claim or await self._accept(holder)
        if claim is None:
            return None
        kind: PassKind = "first" if holder.claim is None else "reentry"
        current = pass_type(claim, self._engine, self.policy, kind, self._client.limits)
        current.endpoints = self._client.endpoints
        holder.current_pass = current
        self._engine.passes.add(current)
        if kind == "reentry" and self._engine.status(claim.run.id) is RunStatus.CANCELLED:
            # While the claimed run waited for its turn, the cancellation found no pass to interrupt.
            current.interrupt(CANCELLED)
        return current

    async def close(self, holder: Holder, current: Pass, error: BaseException | None) -> None:
        """
        Settle a pass whose handler was interrupted, or raised *error*.

        Returns when the run waits or the pass is let go, and the holder has its answer; raises *error* when the
        framework is to answer, as a RuntimeError if it is not an `Exception`.
        """
        if current.released:
            self._answer_released(holder, current)
            self._engine.spawn(self._settled(holder, current, error))
        elif await self._settle_shielded(holder, current, error):
            if current.kind == "first" and holder.substitute is None:
                holder.answer(self._elsewhere(current))
        elif error is not None:
            raise _error_of_handler(error)

    def _elsewhere(self, current: Pass) -> RecordedResponse:
        """Answer the client of a run that this pass does not end: it may have ended by being cancelled."""
        run = current.claim.run
        if current.interrupted in (CANCELLED, FENCED) and self._engine.status(run.id) is RunStatus.CANCELLED:
            return http.cancelled(run.id)
        return http.redirect(wait_url(self._adapter, self._engine, run), run.id)

    async def _settle_shielded(self, holder: Holder, current: Pass, error: BaseException | None) -> bool:
        settling = self._engine.spawn(self._settle(holder, current, error))
        try:
            # Shielded: the client may go away while the run is put to wait.
            return await asyncio.shield(settling)
        except asyncio.CancelledError:
            self._engine.spawn(self._leave(settling, current))
            raise

    async def _leave(self, settling: asyncio.Task[bool], current: Pass) -> None:
        """Go on without the client: what the framework would have answered is left to a re-entry."""
        if not await settling and current.claim.accepted:
            await self._abandon(current)

    async def _accept(self, holder: Holder) -> Claim | None:
        """Begin a run for the client's request; None when the request is answered without one."""
        try:
            request = await holder.request()
        except RequestTooLargeError as error:
            holder.answer(http.answer(413, {"error": str(error)}))
            return None
        if not self._client.is_started():
            # Without a lifespan, the first request starts the engine. Checked last: it may stop while the body comes.
            await self._client.start()
        if self._engine.failing is not None:
            holder.answer(http.unavailable(UNWRITABLE))
            return None
        if holder.key is None:
            return self._engine.begin(self.id, request, self._options.timeout_seconds)
        return await self._keyed.accept(holder, request, holder.key)

    def owner(self) -> str | None:
        """
        Return whose idempotency keys the calling request has; None to take the ``Authorization`` header.

        Called in the thread of the request: what the application keeps for it, such as a database connection, may not
        work in another.
        """
        own_scope = self._options.idempotency_scope
        return own_scope() if own_scope else None

    async def look_up(self, key: str, authorization: str | None, owner: str | None) -> RecordedResponse:
        """Answer where the run with an idempotency key is, to *owner* or the one whom the header names; or ``404``."""
        return await self._keyed.look_up(key, authorization, owner)

    def completed(self, holder: Holder, current: Pass) -> None:
        """Note that the handler has returned its answer: the run ends when the framework has sent it."""
        # In a first pass every memo is its own.
        for key in current.journal.unvisited() if current.kind == "reentry" else ():
            logger.warning(
                "the handler returned without visiting step %r, which this run has recorded: "
                "was the handler changed while the run was under way? [run=%s]",
                key,
                current.claim.run.id,
            )
        holder.ending = _COMPLETED, None

    async def _settle(self, holder: Holder, current: Pass, error: BaseException | None) -> bool:
        """Decide what follows a pass that was interrupted or raised. Returns whether the run waits now."""
        run = current.claim.run
        if current.interrupted == DEADLINE:
            # Steps in flight cannot write to a run that has ended.
            await self._time_out(holder, current)
            return True
        await current.idle()
        if current.interrupted or isinstance(error, RunInterrupt):
            park = after_interrupt(run, current.how_interrupted(error), self._engine.clock.now())
            await self._park(current, park, current.interrupted or PARKED)
            return True
        if error is None:
            raise AssertionError("a pass ended without a result, an error or an interrupt: please report this bug")
        failed = _error_of_handler(error)
        following = self._after_error(holder, current, failed)
        if following is None:
            return False
        await self._park(current, following, failure=failure_of(failed))
        return True

    async def _settled(self, holder: Holder, current: Pass, error: BaseException | None) -> None:
        await self._settle(holder, current, error)

    def _answer_released(self, holder: Holder, current: Pass) -> None:
        """Answer for a pass that still has steps in flight, or whose checkpoints cannot be written."""
        run = current.claim.run
        if current.interrupted == DEADLINE:
            holder.answer(timed_out(run).response or http.unavailable(DEADLINE))
        elif current.claim.on_disk:
            holder.answer(http.redirect(wait_url(self._adapter, self._engine, run), run.id))
        else:
            holder.answer(http.unavailable(current.interrupted))

    async def _time_out(self, holder: Holder, current: Pass) -> None:
        finish = timed_out(current.claim.run)
        if finish.response is not None:
            holder.answer(finish.response)
        try:
            await current.claim.finish(finish)
        except FencedError:
            logger.info("a later pass owns the run; this one ends [run=%s]", current.claim.run.id)
        self._engine.passes.discard(current)

    def _after_error(self, holder: Holder, current: Pass, error: Exception) -> Park | None:
        run = current.claim.run
        if self._adapter.is_answer(error):
            holder.ending = _COMPLETED, None
            return None
        if not current.claim.accepted:
            # There is no run to end: the framework answers as it would without us.
            self._engine.passes.discard(current)
            return None
        following = after_error(run, error, self.policy, self._engine.clock.now(), random.random())
        if isinstance(following, Park):
            log_attempt(run.id, run.attempt, following.wake_at - self._engine.clock.now(), error)
            return following
        holder.ending = following, failure_of(error)
        return None

    def abandon(self, current: Pass) -> None:
        """End a pass whose handler was cancelled: steps in flight are checkpointed, then the run goes on at once."""
        self._engine.spawn(self._abandon(current))

    async def _abandon(self, current: Pass) -> None:
        await current.idle()
        if current.claim.accepted:
            run = current.claim.run
            park = Park(self._engine.clock.now(), run.attempt, run.quiet_seconds)
            await self._park(current, park, current.interrupted or CLIENT_GONE)
        else:
            self._engine.passes.discard(current)

    async def _park(self, current: Pass, park: Park, why: str = "", failure: Failure | None = None) -> None:
        try:
            await current.claim.park(before_deadline(current.claim.run, park), why, failure)
        except FencedError:
            logger.info("a later pass owns the run; this one ends [run=%s]", current.claim.run.id)
        current.parked_run()
        self._engine.passes.discard(current)


def _error_of_handler(error: BaseException) -> Exception:
    """Return *error*; a RuntimeError for what is not an `Exception`, such as the timeouts of some libraries."""
    if isinstance(error, Exception):
        return error
    failed = RuntimeError(f"the handler raised {type(error).__name__}")
    failed.__cause__ = error
    return failed
