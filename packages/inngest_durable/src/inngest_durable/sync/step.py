"""
Steps for ``def`` handlers, as in Flask: ``from inngest_durable.sync import step``.

The same names as in `inngest_durable.step`, without ``await``: a step is called in the handler's thread, and returns
when its result is on disk. A step that must wait leaves the handler at once, so a waiting run holds no thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, ParamSpec, TypeVar

from .. import _context, _event_steps, _steps
from .._core import duration
from .._core.events import Event, Signal
from .._core.options import StepOptions
from .._fetch import FetchRequest, FetchResponse, fetch_in_thread
from .._thread_pass import ThreadPass

__all__ = [
    "fetch",
    "idempotency_key",
    "invoke",
    "run",
    "send_event",
    "send_signal",
    "sleep",
    "sleep_until",
    "wait_for_event",
    "wait_for_signal",
]

P = ParamSpec("P")
T = TypeVar("T")


def run(step_id: str | StepOptions, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Run *fn* once per run and remember what it returned; see `inngest_durable.step.run`.

    Args:
        step_id: Name of the step, e.g. ``"reserve-flight"``, or `StepOptions`. Repeats get ``:1``, ``:2``.
        fn: ``def`` function, called in this thread; with a timeout, in a thread of the engine.
        *args: Arguments of *fn*.
        **kwargs: Keyword arguments of *fn*.

    Returns:
        What *fn* returned, encoded and decoded to its return annotation. The same at every replay.

    Raises:
        StepError: *fn* failed on every attempt, or raised `NonRetriableError`. ``__cause__`` is set on the first run.
        StepUsageError: Called outside an endpoint or inside another step, *fn* is ``async def``, or a replay reached
            another step's memo.
    """
    result: T = _steps.run(ThreadPass, step_id, fn, args, kwargs)
    return result


def sleep(step_id: str, pause: duration.Duration) -> None:
    """
    Pause the run, without holding a thread or anything else meanwhile; see `inngest_durable.step.sleep`.

    Raises:
        ValueError: *pause* is not a duration.
        StepUsageError: As in `run`.
    """
    _steps.sleep(ThreadPass, step_id, lambda now: now + duration.seconds(pause), str(pause))


def sleep_until(step_id: str, moment: datetime) -> None:
    """
    Pause the run until *moment*, a timezone-aware datetime; if it is in the past, the run does not pause.

    Raises:
        ValueError: *moment* has no time zone.
        StepUsageError: As in `run`.
    """
    wake_at = duration.timestamp(moment)
    _steps.sleep(ThreadPass, step_id, lambda now: wake_at, "sleep_until")


def fetch(
    step_id: str | StepOptions,
    url: str,
    *,
    method: str = "GET",
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    content: bytes | str | None = None,
    timeout: duration.Duration = "30s",
) -> FetchResponse:
    """
    Send an HTTP request once per run and remember the response; see `inngest_durable.step.fetch`.

    Raises:
        StepError: Every attempt failed.
        StepValueError: *json* has no JSON form.
        ValueError: *json* and *content* are both given, or *timeout* is not a duration.
        StepUsageError: As in `run`.
    """
    request = FetchRequest.of(url, method, params, headers, json, content, timeout)
    answer: FetchResponse = _steps.run(ThreadPass, step_id, fetch_in_thread, (request,), {})
    return answer


def wait_for_event(
    step_id: str | StepOptions,
    *,
    event: str,
    match: str | Mapping[str, Any] | None = None,
    if_exp: str | None = None,
    timeout: duration.Duration,
    since: Literal["run"] | None = None,
) -> Event | None:
    """
    Wait for an event, without holding a thread or anything else meanwhile; see `inngest_durable.step.wait_for_event`.

    Raises:
        ValueError: *timeout* is not a duration.
        EventError: *match* or *if_exp* cannot work.
        StepUsageError: As in `run`.
    """
    came: Event | None = _event_steps.wait_for_event(ThreadPass, step_id, event, match, if_exp, timeout, since)
    return came


def send_event(step_id: str | StepOptions, events: Event | Sequence[Event]) -> list[str]:
    """
    Send events exactly once in a run, and return their IDs; see `inngest_durable.step.send_event`.

    Raises:
        EventError: One of them is too large or has no JSON form; then none is sent.
        StepUsageError: As in `run`.
    """
    ids: list[str] = _event_steps.send_event(ThreadPass, step_id, events)
    return ids


def wait_for_signal(step_id: str | StepOptions, *, signal: str, timeout: duration.Duration) -> Signal | None:
    """
    Wait for a signal, which is sent to this step alone; see `inngest_durable.step.wait_for_signal`.

    Raises:
        ValueError: *timeout* is not a duration.
        SignalTakenError: Another step waits for this signal; raised again at every replay.
        StepUsageError: As in `run`.
    """
    came: Signal | None = _event_steps.wait_for_signal(ThreadPass, step_id, signal, timeout)
    return came


def send_signal(step_id: str | StepOptions, signal: str, data: Any = None) -> bool:
    """
    Wake the step that waits for a signal, and return whether there was one; see `inngest_durable.step.send_signal`.

    Raises:
        EventError: *data* is too large or has no JSON form.
        StepUsageError: As in `run`.
    """
    waited: bool = _event_steps.send_signal(ThreadPass, step_id, signal, data)
    return waited


def invoke(
    step_id: str | StepOptions,
    *,
    endpoint: Callable[..., Any] | str,
    params: Mapping[str, Any] | None = None,
    json: Any = None,
    timeout: duration.Duration = "365d",
) -> Any:
    """
    Call another endpoint as a child run, and return what it answered; see `inngest_durable.step.invoke`.

    Raises:
        StepError: The child failed, answered with a status other than success, or did not end in time.
        StepUsageError: There is no such endpoint, or none of its routes takes these *params*; or as in `run`.
        EventError: *json* has no JSON form.
        LimitExceededError: *json* is too large.
    """
    return _event_steps.invoke(ThreadPass, step_id, endpoint, params, json, timeout)


idempotency_key = _context.idempotency_key
