"""
What `step` and `sync.step` share of the steps that wait for something or send it: see `_steps`.

Everything that can be seen to be wrong is raised in the call; the rest when the step is first reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ._core import event_flow, invoke_flow
from ._core.duration import Duration, seconds
from ._core.effects import StepFlow
from ._core.events import Event, check_signal, run_event, sent_events, signal_result
from ._core.journal import StepIdentity
from ._core.matching import Match
from ._core.matching import wait_for_event as what_to_wait_for
from ._core.model import Run
from ._core.options import StepOptions
from ._pass import Pass
from ._steps import here
from .errors import EventError

Since = Literal["run"] | None


def wait_for_event(
    colour: type[Pass],
    step_id: str | StepOptions,
    name: str,
    match: Match | None,
    if_exp: str | None,
    timeout: Duration,
    since: Since,
) -> Any:
    """Wait for an event in a pass of this *colour*."""
    timeout_seconds = seconds(timeout)
    if since not in (None, "run"):
        raise EventError(f'since is None (events to come) or "run" (those since the run began), not {since!r}')

    def flow(current: Pass, step: StepIdentity) -> StepFlow:
        run = current.claim.run
        return event_flow.wait_for_event(
            current.journal,
            step,
            lambda: what_to_wait_for(name, match, if_exp, lambda: run_event(run)),
            run.created_at if since == "run" else None,
            current.clock.now() + timeout_seconds,
        )

    return _perform(colour, step_id, f"wait_for_event({name})", flow)


def send_event(colour: type[Pass], step_id: str | StepOptions, events: Event | Sequence[Event]) -> Any:
    """Send events in a pass of this *colour*."""

    def flow(current: Pass, step: StepIdentity) -> StepFlow:
        def new_id(index: int) -> str:
            return f"{step.run_id}:{step.key}:{index}"

        now, limits = current.clock.now, current.journal.limits
        return event_flow.send_events(current.journal, step, lambda: sent_events(events, new_id, now(), limits))

    return _perform(colour, step_id, "send_event", flow)


def wait_for_signal(colour: type[Pass], step_id: str | StepOptions, name: str, timeout: Duration) -> Any:
    """Wait for a signal in a pass of this *colour*."""
    timeout_seconds = seconds(timeout)
    check_signal(name)

    def flow(current: Pass, step: StepIdentity) -> StepFlow:
        wake_at = current.clock.now() + timeout_seconds
        return event_flow.wait_for_signal(current.journal, step, name, wake_at)

    return _perform(colour, step_id, f"wait_for_signal({name})", flow)


def send_signal(colour: type[Pass], step_id: str | StepOptions, name: str, data: Any) -> Any:
    """Send a signal in a pass of this *colour*."""
    check_signal(name)

    def flow(current: Pass, step: StepIdentity) -> StepFlow:
        limits = current.journal.limits
        return event_flow.send_signal(current.journal, step, name, lambda: signal_result(name, data, limits))

    return _perform(colour, step_id, f"send_signal({name})", flow)


def invoke(
    colour: type[Pass],
    step_id: str | StepOptions,
    endpoint: Callable[..., Any] | str,
    params: Mapping[str, Any] | None,
    body: Any,
    timeout: Duration,
) -> Any:
    """Call another endpoint in a pass of this *colour*."""
    timeout_seconds = seconds(timeout)

    def flow(current: Pass, step: StepIdentity) -> StepFlow:
        def child() -> Run:
            return current.new_child(step, endpoint, params or {}, body)

        return invoke_flow.invoke(current.journal, step, child, current.clock.now() + timeout_seconds)

    return _perform(colour, step_id, "invoke", flow)


def _perform(
    colour: type[Pass], step_id: str | StepOptions, what: str, flow: Callable[[Pass, StepIdentity], StepFlow]
) -> Any:
    step_id, _, _ = StepOptions.parts(step_id)
    scope, current = here(colour, step_id)
    step, branch = current.start(scope, step_id, lambda: what)
    return current.perform(step, branch, flow(current, step), _no_function)


def _no_function() -> Any:
    raise AssertionError("this step calls no function: please report this bug")
