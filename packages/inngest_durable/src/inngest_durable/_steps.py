"""What `step` and `sync.step` share: finding the pass, taking the key, and handing the step's flow to the pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from . import _context
from ._core import codec
from ._core.options import StepOptions
from ._core.retry import retry_policy
from ._core.step_flow import run_step
from ._core.step_flow import sleep_until as sleep_until_flow
from ._pass import Pass
from ._task_pass import TaskPass
from .errors import StepUsageError

# What to do when a step of one colour is called in a handler of the other.
_IN_TASK = "inngest_durable.sync, which is for `def` handlers: in an `async def` handler write `from inngest_durable"
_IN_THREAD = (
    "inngest_durable.step, which is for `async def` handlers: in a `def` handler write `from inngest_durable.sync"
)


def run(colour: type[Pass], step_id: str | StepOptions, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run *fn* as a step of a pass of this *colour*."""
    step_id, retries, timeout_seconds = StepOptions.parts(step_id)
    scope, current = here(colour, step_id)
    if not callable(fn):
        raise _no_step_function(fn, current.claim.run.id, step_id)
    step, branch = current.start(scope, step_id, partial(codec.fingerprint, fn, args, kwargs))
    call = current.call_of(step, fn, args, kwargs, timeout_seconds)
    policy = current.policy if retries is None else retry_policy(retries, current.policy)
    flow = run_step(current.journal, step, policy, codec.result_codec(fn))
    return current.perform(step, branch, flow, call)


def sleep(colour: type[Pass], step_id: str, wake_at: Callable[[float], float], text: str) -> Any:
    """Pause a pass of this *colour* until *wake_at*, a function of the current time."""
    step_id, _, _ = StepOptions.parts(step_id)
    scope, current = here(colour, step_id)
    step, branch = current.start(scope, step_id, lambda: f"sleep({text})")
    flow = sleep_until_flow(current.journal, step, wake_at(current.clock.now()))
    return current.perform(step, branch, flow, _no_function)


def here(colour: type[Pass], step_id: str) -> tuple[_context.Scope, Any]:
    """Return scope and pass of the calling code. Raises `StepUsageError` if that is of the other colour."""
    scope = _context.handler_scope(step_id)
    current = scope.current_pass
    if not isinstance(current, colour):
        mistake = _IN_TASK if isinstance(current, TaskPass) else _IN_THREAD
        raise StepUsageError(f"step {step_id!r} is of {mistake} import step`", current.claim.run.id, step_id)
    return scope, current


def _no_step_function(given: object, run_id: str, step_id: str) -> StepUsageError:
    """Return the error of a function that was called by the handler, and not handed on to be called in the step."""
    name = "fn"
    if inspect.iscoroutine(given):
        name = given.__name__
        # Otherwise Python warns that nobody awaited it, which would be the wrong advice.
        given.close()
    # Its type alone: the log is no place for what it holds.
    what = f"step {step_id!r} was given a {type(given).__name__} in place of a function"
    return StepUsageError(f"{what}: write step.run({step_id!r}, {name}, …), without calling it", run_id, step_id)


def _no_function() -> Any:
    raise AssertionError("a sleep calls no function: please report this bug")
