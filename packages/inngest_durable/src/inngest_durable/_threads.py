"""
Daemon threads that report the outcome of a call to an event loop.

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
from weakref import WeakKeyDictionary

# How many threads of step functions, and how many of parallel branches, run at once in one process; others wait.
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
    note_under_way(loop, returned)
    return done, returned


def note_under_way(loop: asyncio.AbstractEventLoop, returned: concurrent.futures.Future[None]) -> None:
    """Let a thread work for *loop* until *returned* ends."""
    under_way = _under_way.setdefault(loop, set())
    under_way.add(returned)
    returned.add_done_callback(under_way.discard)


def threads_of(loop: asyncio.AbstractEventLoop) -> set[concurrent.futures.Future[None]]:
    """Return what ends with the work of each thread that *loop* waits for. For tests."""
    return set(_under_way.get(loop, ()))


async def call_apart(name: str, call: Callable[[], Any]) -> None:
    """Call *call* in a new thread and wait for it; call it here if no thread can be had, as at the process's end."""
    try:
        done, _ = start_thread(name, call)
    except RuntimeError:
        call()
    else:
        await done


def as_exception(error: BaseException, who: str) -> Exception:
    """
    Return *error*, which *who* raised, or the RuntimeError that stands for it where it would do harm.

    A future cannot carry a StopIteration, and a SystemExit or KeyboardInterrupt in one ends the loop that awaits it.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    replaced = RuntimeError(f"{who} raised {type(error).__name__}")
    replaced.__cause__ = error
    return replaced


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
        _tell(loop, done, as_exception(error, "the step function"), None)
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


_under_way: WeakKeyDictionary[asyncio.AbstractEventLoop, set[concurrent.futures.Future[None]]] = WeakKeyDictionary()
