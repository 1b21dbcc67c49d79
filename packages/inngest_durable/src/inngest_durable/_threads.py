"""
Daemon threads that tell an event loop what came of a call.

Daemon, because a thread cannot be stopped: one that hangs must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

# Threads of step functions and of parallel branches, each at once in one process; further ones wait their turn.
THREADS = 64


def start_thread(name: str, call: Callable[[], Any]) -> tuple[asyncio.Future[Any], concurrent.futures.Future[None]]:
    """
    Call *call* in a new thread, in a copy of the context.

    Returns:
        Its outcome, on the running event loop; and what ends when the thread does, for whichever loop.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()
    returned: concurrent.futures.Future[None] = concurrent.futures.Future()
    target = partial(contextvars.copy_context().run, _call, loop, done, returned, call)
    threading.Thread(target=target, name=name, daemon=True).start()
    return done, returned


async def end_of(thread: concurrent.futures.Future[None]) -> None:
    """Wait until a thread has returned, which another event loop may have started."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    thread.add_done_callback(lambda _: _tell(loop, ended, None, None))
    await ended


def _call(
    loop: asyncio.AbstractEventLoop,
    done: asyncio.Future[Any],
    returned: concurrent.futures.Future[None],
    call: Callable[[], Any],
) -> None:
    try:
        result = call()
    except StopIteration as error:
        # A future cannot carry a StopIteration.
        stopped = RuntimeError("the step function raised StopIteration")
        stopped.__cause__ = error
        _tell(loop, done, stopped, None)
    except BaseException as error:
        _tell(loop, done, error, None)
    else:
        _tell(loop, done, None, result)
    finally:
        returned.set_result(None)


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], error: BaseException | None, result: Any) -> None:
    def tell() -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:
        # The loop has closed: the process stops, the attempt is not recorded, and the run goes on after the restart.
        if not loop.is_closed():
            raise
