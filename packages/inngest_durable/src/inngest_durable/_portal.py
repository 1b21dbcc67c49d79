"""
The engine's event loop where handlers run in threads: one for each process, in a daemon thread of its own.

It starts when it is first needed, and anew in a forked child, which inherits no threads. It is never closed: whatever
is under way when the process ends is left to the next start. A round trip takes about 50 µs; anyio's blocking portal
was measured to take five times as long, since it starts a task and takes several locks for each call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("inngest_durable")


class Portal:
    """The way from threads to the event loop."""

    def __init__(self) -> None:
        # In a forked child these are the parent's: a loop that is collected would take its selector with it.
        self._inherited: list[asyncio.AbstractEventLoop] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, started if it does not run."""
        if self._loop is None:
            with self._starting:
                if self._loop is None:
                    loop = asyncio.new_event_loop()
                    threading.Thread(target=_run, args=(loop,), name="inngest engine", daemon=True).start()
                    self._loop = loop
        return self._loop

    def is_here(self) -> bool:
        """Whether the caller runs on the event loop, and so may not block."""
        return self._loop is not None and asyncio._get_running_loop() is self._loop

    def call(self, fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *fn* on the event loop, in the caller's context, and block until its result is there."""
        return call_on(self.loop, partial(fn, *args, **kwargs))

    def post(self, fn: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call the plain function *fn* on the event loop, soon."""
        self.loop.call_soon_threadsafe(partial(fn, *args, **kwargs))

    def forget(self) -> None:
        """Forget the parent's loop, in a forked child."""
        if self._loop is not None:
            self._inherited.append(self._loop)
        self._loop = None
        self._starting = threading.Lock()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Life of the engine's thread."""
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            # asyncio also lets it out of the loop, after the task: every other request would wait for ever.
            logger.exception("something on the engine's event loop tried to end the process; the engine goes on")
        else:
            return


def call_on(loop: asyncio.AbstractEventLoop, start: Callable[[], Awaitable[T]]) -> T:
    """Await on *loop* what *start* returns there, in the caller's context, and block until its result is there."""
    result: Future[T] = Future()
    loop.call_soon_threadsafe(begin, start, result, context=copy_context())
    return result.result()


def begin(start: Callable[[], Awaitable[T]], result: Future[T], then: Callable[[], object] | None = None) -> None:
    """Await what *start* returns, call *then*, and put the outcome into *result* unless that has one by then."""
    awaited: asyncio.Future[T]
    try:
        # A store's write is a future already: no task is made for it.
        awaited = asyncio.ensure_future(start())
    except BaseException as error:
        awaited = asyncio.get_running_loop().create_future()
        awaited.set_exception(error)
    awaited.add_done_callback(partial(_hand_over, result, then))


def _hand_over(result: Future[T], then: Callable[[], object] | None, done: asyncio.Future[T]) -> None:
    error = asyncio.CancelledError() if done.cancelled() else done.exception()
    if then is not None:
        then()
    if result.done():
        return
    if error is not None:
        result.set_exception(error)
    else:
        result.set_result(done.result())


class Done(Generic[T]):
    """What a blocking call returns where an asynchronous one returns a coroutine: awaiting it takes no time."""

    def __init__(self, result: T) -> None:
        self.result = result

    def __await__(self) -> Any:
        """Return the result at once."""
        return self.result
        yield


portal = Portal()
os.register_at_fork(after_in_child=portal.forget)
