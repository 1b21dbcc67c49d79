"""Points at which a process dies, as far as a test is concerned: wrappers, of which the package knows nothing."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Crash(BaseException):
    """The process died, as far as a test is concerned. A BaseException, so that ``except Exception`` lets it pass."""


class CrashPoint:
    """
    Dies before the n-th effect, and before each later one, since a dead process does nothing more.

    Put it round whatever acts on the outside world: a step's function, a store's ``write``, what performs a flow's
    effects. Count first, then die at each point and look at what a new process makes of what was saved::

        crash = CrashPoint(before=3)
        charge = crash.wrap(payments.charge)                # crash.awrap for an `async def`

    An engine takes a `Crash` for an error of the step or the handler, and lives on. So to test a whole application, let
    its process die: start it separately, with *kill*, then start another one on the same database.

    Args:
        before: Number of the effect to die before, counted from 1; None only counts.
        kill: Whether the process is ended by SIGKILL instead of raising `Crash`.

    Attributes:
        effects: How many effects were asked for, up to and including the one that was not done.
        dead: Whether the crash has happened.
    """

    def __init__(self, before: int | None = None, *, kill: bool = False) -> None:
        self.before = before
        self.kill = kill
        self.effects = 0
        self.dead = False

    def pass_by(self) -> None:
        """Count one effect that is about to be done. From the n-th on, raise `Crash` instead, or die."""
        if not self.dead:
            self.effects += 1
            self.dead = self.effects == self.before
        if self.dead and self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.dead:
            raise Crash(f"died before effect {self.effects}")

    def wrap(self, perform: Callable[P, T]) -> Callable[P, T]:
        """Return *perform* with this crash point in front of it."""

        @functools.wraps(perform)
        def performed(*args: P.args, **kwargs: P.kwargs) -> T:
            self.pass_by()
            return perform(*args, **kwargs)

        return performed

    def awrap(self, perform: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return an ``async def`` *perform* with this crash point in front of it: it dies when it is awaited."""

        @functools.wraps(perform)
        async def performed(*args: P.args, **kwargs: P.kwargs) -> T:
            self.pass_by()
            return await perform(*args, **kwargs)

        return performed
