"""Steps at the same time in ``def`` handlers: ``from inngest_durable.sync import group``."""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, overload

from .. import _context, _steps
from .._calls import is_coroutine_function
from .._thread_branches import ThreadBranch
from .._thread_pass import ThreadPass
from .._threads import THREADS
from ..errors import RunInterrupt, StepUsageError

__all__ = ["parallel"]

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")


# Up to four in a tuple keep their types. As with `asyncio.gather`, that tuple is for type checkers: it is a list.
@overload
def parallel(  # type: ignore[overload-overlap]  # all other iterables match the last one
    callables: tuple[Callable[[], T1], Callable[[], T2]],
) -> tuple[T1, T2]: ...
@overload
def parallel(  # type: ignore[overload-overlap]  # as above
    callables: tuple[Callable[[], T1], Callable[[], T2], Callable[[], T3]],
) -> tuple[T1, T2, T3]: ...
@overload
def parallel(  # type: ignore[overload-overlap]  # as above
    callables: tuple[Callable[[], T1], Callable[[], T2], Callable[[], T3], Callable[[], T4]],
) -> tuple[T1, T2, T3, T4]: ...
@overload
def parallel(callables: Iterable[Callable[[], T]]) -> list[T]: ...
def parallel(callables: Iterable[Callable[[], Any]]) -> Any:
    """
    Call *callables* at the same time, each in a thread, and return a list of what they returned, in their order.

    ::

        flight, hotel = group.parallel(
            (
                lambda: step.run("flight", airline.reserve, trip),
                lambda: step.run("hotel", hotels.reserve, trip),
            )
        )

    Each gets a copy of the context, so Flask's ``request`` works in it, as does ``g``, which all of them share. Each
    is a branch of its own: equal step IDs in two of them are different steps. Other threads call them, and this one
    those that no other has begun, for example while 64 threads are busy. A branch with a step that must wait does not
    hold up the others; when all have gone as far as they can, the handler is left, and goes on by re-entry.

    Args:
        callables: Functions without arguments, e.g. lambdas, that use steps or call ``parallel`` themselves. In a loop
            write ``partial(ask_in, city)``, with the step in ``ask_in``: a lambda would see the last *city* in each.
            Each reaches its first step before those to its right do, so put slow code into steps.

    Raises:
        Exception: The error of the first, in their order, that failed; the others have ended by then.
        StepUsageError: As in `step.run`, or one of them is not a function, or is ``async def``.
    """
    branches = list(callables)
    scope, current = _steps.here(ThreadPass, "group.parallel")
    for branch in branches:
        if not callable(branch):
            given = f"group.parallel was given a {type(branch).__name__} in place of a function"
            raise StepUsageError(f"{given}: write `lambda:` before each step.run(…)", current.claim.run.id)
        if is_coroutine_function(branch):
            name = getattr(branch, "__qualname__", repr(branch))
            raise StepUsageError(f"group.parallel calls {name} in a thread, so it cannot be `async def`: make it `def`")
    return _Group(current, scope, branches).run()


class _Group(Generic[T]):
    """One call of `parallel`: its branches, the calls that no thread has taken yet, and the outcomes of the others."""

    def __init__(self, current: ThreadPass, scope: _context.Scope, callables: list[Callable[[], T]]) -> None:
        self._pass = current
        self._parent = current.branch_of(scope)
        self._prefix = current.journal.settle(self._parent)
        self._callables = callables
        self._branches: list[ThreadBranch] = []
        self._branches += [
            ThreadBranch(self._parent, self._prefix, self._branches, left) for left in range(len(callables))
        ]
        self._contexts = [contextvars.copy_context() for _ in callables]
        self._results: dict[int, T] = {}
        self._errors: dict[int, BaseException] = {}
        self._untaken = deque(range(len(callables)))

    def run(self) -> list[T]:
        helpers: list[threading.Thread] = []
        while len(helpers) < len(self._callables) - 1 and _threads.acquire(blocking=False):
            helper = threading.Thread(target=self._help, name="inngest branch", daemon=True)
            try:
                helper.start()
            except RuntimeError:
                # The system has no thread left: the existing ones call all of them.
                _threads.release()
                break
            helpers.append(helper)
        self._work()
        for helper in helpers:
            helper.join()
        interrupted = any(isinstance(error, RunInterrupt) for error in self._errors.values())
        cut = any(map(self._pass.is_cut, self._branches))
        # All have ended. Each knows the others, so they would be left to the cycle collector.
        self._branches.clear()
        if interrupted or cut:
            raise self._pass.cut(self._parent)
        for number in sorted(self._errors):
            raise self._errors[number]
        return [self._results[number] for number in range(len(self._callables))]

    def _help(self) -> None:
        try:
            self._work()
        finally:
            _threads.release()

    def _work(self) -> None:
        # From left to right: a branch waits for the places of those to its left, which have begun before it.
        while True:
            try:
                number = self._untaken.popleft()
            except IndexError:
                return
            self._contexts[number].run(self._call, number)

    def _call(self, number: int) -> None:
        branch = self._branches[number]
        _context.scope.set(_context.Scope(self._pass, branch, threading.current_thread(), ""))
        try:
            self._results[number] = self._callables[number]()
        except BaseException as error:
            self._errors[number] = error
        finally:
            branch.place()


_threads = threading.Semaphore(THREADS)


def _forget_threads() -> None:
    """Start afresh in a forked child, where none of the parent's threads is left."""
    global _threads
    _threads = threading.Semaphore(THREADS)


os.register_at_fork(after_in_child=_forget_threads)
