"""Calls of step functions. An ``async def`` one runs on the event loop; a ``def`` one in a daemon thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from ._core.journal import StepIdentity
from ._threads import THREADS, end_of, start_thread
from .errors import StepTimeoutError

logger = logging.getLogger("inngest_durable")

_COROUTINE = inspect.CO_COROUTINE


class StepCall:
    """
    One step's function with its arguments; each call of this object is one attempt.

    Args:
        step: The step, which names itself in errors and logs.
        fn: The step function. What a ``def`` function returns is awaited if it can be.
        timeout_seconds: How long one attempt may take; None for as long as it takes.
    """

    __slots__ = ("_args", "_fn", "_key", "_kwargs", "_step_id", "_timeout_seconds")

    def __init__(
        self, step: StepIdentity, fn: Callable[..., Any], args: Any, kwargs: Any, timeout_seconds: float | None
    ) -> None:
        self._step_id = step.key
        self._key = step.run_id, step.key
        self._fn = fn
        self._args = args
        self._kwargs = kwargs
        self._timeout_seconds = timeout_seconds

    def __call__(self) -> Awaitable[Any]:
        """
        Call the function once.

        Raises:
            StepTimeoutError: It took longer than the timeout.
        """
        if self._timeout_seconds is not None:
            return self._limited_attempt(self._timeout_seconds)
        return self._attempt()

    async def _limited_attempt(self, timeout_seconds: float) -> Any:
        if (late := _late.get(self._key)) is not None:
            # The thread of the attempt that timed out still runs: two at once could undo each other's work.
            await end_of(late)
        try:
            async with asyncio.timeout(timeout_seconds) as limit:
                return await self._attempt()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise StepTimeoutError(f"step {self._step_id!r} took longer than {timeout_seconds:g} s") from error

    def _attempt(self) -> Awaitable[Any]:
        if is_coroutine_function(self._fn):
            attempt: Awaitable[Any] = self._fn(*self._args, **self._kwargs)
            return attempt
        return self._thread_attempt()

    async def _thread_attempt(self) -> Any:
        result = await self._in_thread()
        return await result if inspect.isawaitable(result) else result

    async def _in_thread(self) -> Any:
        slots = _slots()
        await slots.acquire()
        call = partial(self._fn, *self._args, **self._kwargs)
        try:
            done, returned = start_thread(f"step {self._step_id}", call)
        except BaseException:
            slots.release()
            raise
        done.add_done_callback(lambda _: slots.release())
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            if not done.done():
                _late[self._key] = returned
                returned.add_done_callback(lambda _: _late.pop(self._key, None))
                done.add_done_callback(self._drop)
            raise

    def _drop(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        how = "returned" if error is None else f"raised {type(error).__name__}: {error}"
        logger.warning("step %r %s after its timeout; that is dropped [run=%s]", self._step_id, how, self._key[0])


def step_call(
    step: StepIdentity, fn: Callable[..., Any], args: Any, kwargs: Any, timeout_seconds: float | None
) -> Callable[[], Awaitable[Any]]:
    """Return what calls *fn* once each time it is called: one attempt of the step."""
    if timeout_seconds is None and is_coroutine_function(fn):
        return partial(fn, *args, **kwargs) if args or kwargs else fn
    return StepCall(step, fn, args, kwargs, timeout_seconds)


def is_coroutine_function(fn: Callable[..., Any]) -> bool:
    """Return whether *fn* is ``async def``, as far as that is quickly seen, or is marked as one (Python 3.12)."""
    code = getattr(fn, "__code__", None)
    return (code is not None and bool(code.co_flags & _COROUTINE)) or inspect.iscoroutinefunction(fn)


def _slots() -> asyncio.Semaphore:
    loop = asyncio.get_running_loop()
    if loop not in _slots_of:
        _slots_of[loop] = asyncio.Semaphore(THREADS)
    return _slots_of[loop]


# Threads of attempts that timed out and have not returned, by run and step: a later pass waits for them too.
_late: dict[tuple[str, str], concurrent.futures.Future[None]] = {}
_slots_of: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
# A forked child has none of them.
os.register_at_fork(after_in_child=_late.clear)
