"""
Steps for ``async def`` handlers: ``from inngest_durable import step``.

Calling a step takes its key at once, in the order of the handler's code, and returns a coroutine to await, to gather
or to put into a task. Handlers in threads use the same names from `inngest_durable.sync`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar, overload

from . import _context
from ._calls import step_call
from ._core import codec, duration
from ._core.options import StepOptions
from ._core.step_flow import run_step
from ._core.step_flow import sleep_until as sleep_until_flow
from ._task_pass import TaskPass
from .errors import StepUsageError

__all__ = ["idempotency_key", "run", "sleep", "sleep_until"]

P = ParamSpec("P")
T = TypeVar("T")


@overload
def run(
    step_id: str | StepOptions, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, T]: ...
@overload
def run(
    step_id: str | StepOptions, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, T]: ...
def run(step_id: str | StepOptions, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
    """
    Run *fn* once per run and remember what it returned.

    A later replay returns the memo without calling *fn*. Execution is at least once: if the process dies after *fn*
    returns but before the checkpoint, *fn* is called again, so hand `idempotency_key` to outside services.

    Args:
        step_id: Name of the step, e.g. ``"reserve-flight"``, or `StepOptions`. Repeats get ``:1``, ``:2``.
        fn: ``async def`` function, or a ``def`` one, which runs in a thread. Returns JSON, or what msgspec encodes.
        *args: Arguments of *fn*.
        **kwargs: Keyword arguments of *fn*.

    Returns:
        What *fn* returned, encoded and decoded to its return annotation (without one: plain JSON types, so tuples
        become lists). The same on the first call and at every replay.

    Raises:
        StepError: *fn* failed on every attempt, or raised `NonRetriableError`. ``__cause__`` is set on the first run.
        StepUsageError: Called outside an endpoint or inside another step, or a replay reached another step's memo.
    """
    step_id, policy, timeout_seconds = StepOptions.parts(step_id)
    scope, current = _here(step_id)
    step, branch = current.start(scope, step_id, partial(codec.fingerprint, fn, args, kwargs))
    flow = run_step(current.journal, step, policy or current.policy, codec.result_codec(fn))
    return current.perform(step, branch, flow, step_call(step, fn, args, kwargs, timeout_seconds))


def sleep(step_id: str, pause: duration.Duration) -> Coroutine[Any, Any, None]:
    """
    Pause the run, without holding anything in memory meanwhile.

    Args:
        step_id: Name of the step.
        pause: How long, e.g. ``"30s"``, ``"24h"`` or a timedelta, from the first time the step is reached.

    Raises:
        ValueError: *pause* is not a duration.
        StepUsageError: As in `run`.
    """
    return _sleep(step_id, lambda now: now + duration.seconds(pause), str(pause))


def sleep_until(step_id: str, moment: datetime) -> Coroutine[Any, Any, None]:
    """
    Pause the run until *moment*.

    Args:
        step_id: Name of the step.
        moment: An aware datetime. One in the past does not pause.

    Raises:
        ValueError: *moment* has no time zone.
        StepUsageError: As in `run`.
    """
    wake_at = duration.timestamp(moment)
    return _sleep(step_id, lambda now: wake_at, "sleep_until")


def _sleep(step_id: str, wake_at: Callable[[float], float], text: str) -> Coroutine[Any, Any, None]:
    step_id, _, _ = StepOptions.parts(step_id)
    scope, current = _here(step_id)
    step, branch = current.start(scope, step_id, lambda: f"sleep({text})")
    flow = sleep_until_flow(current.journal, step, wake_at(current.clock.now()))
    return current.perform(step, branch, flow, _no_function)


def _here(step_id: str) -> tuple[_context.Scope, TaskPass]:
    scope = _context.handler_scope(step_id)
    current = scope.current_pass
    if not isinstance(current, TaskPass):
        raise StepUsageError(
            f"step {step_id!r} is of inngest_durable.step, which is for `async def` handlers: in a `def` handler write "
            "`from inngest_durable.sync import step`",
            current.claim.run.id,
            step_id,
        )
    return scope, current


async def _no_function() -> None:
    raise AssertionError("a sleep calls no function: please report this bug")


def idempotency_key() -> str:
    """
    Return a key that is the same at every attempt of the running step, also after a crash.

    Call it inside a step's function and hand it to outside services that accept one (payment providers do): an
    effect that was done before a crash is then not done again. 32 hexadecimal characters.

    Raises:
        OutsideEndpointError: Called outside a step's function.
    """
    return _context.idempotency_key()
