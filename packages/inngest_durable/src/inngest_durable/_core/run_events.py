"""
What can happen in a run, as live views see it: the kinds of run events and what each carries. Pure.

`docs/run-events.md` describes the same for those who read the stream.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from . import http
from .model import Failure, Run, RunStatus

RUN_STARTED = "run.started"
RUN_REENTERED = "run.reentered"
RUN_INTERRUPTED = "run.interrupted"
RUN_RETRYING = "run.retrying"
RUN_RECOVERED = "run.recovered"
RUN_COMPLETED = "run.completed"
RUN_FAILED = "run.failed"
RUN_CANCELLED = "run.cancelled"
STEP_STARTED = "step.started"
STEP_PROGRESS = "step.progress"
STEP_RETRYING = "step.retrying"
STEP_FAILED = "step.failed"
STEP_WAITING = "step.waiting"
STEP_COMPLETED = "step.completed"

KINDS = {
    RUN_STARTED: "the run was accepted, and its first pass executes",
    RUN_REENTERED: "a later pass begins; it replays the memoized steps",
    RUN_INTERRUPTED: "a pass has ended, and the run goes on later",
    RUN_RETRYING: "an attempt of the handler failed, and another will follow",
    RUN_RECOVERED: "the run's worker died, and the run goes on",
    RUN_COMPLETED: "the run has ended with the handler's answer",
    RUN_FAILED: "the run has ended with an error",
    RUN_CANCELLED: "the run has ended because somebody cancelled it",
    STEP_STARTED: "an attempt executes that is no quick one",
    STEP_PROGRESS: "the step's function told how far it is",
    STEP_RETRYING: "an attempt failed, and another will follow",
    STEP_FAILED: "the last attempt failed",
    STEP_WAITING: "the step sleeps, or waits for something",
    STEP_COMPLETED: "the step is memoized",
}

ENDED = {
    RunStatus.COMPLETED: RUN_COMPLETED,
    RunStatus.FAILED: RUN_FAILED,
    RunStatus.CANCELLED: RUN_CANCELLED,
}
# The number of a run's start: no other is lower.
START_NUMBER = 1
# The number of a run's end: no other is higher, and JavaScript can count that far.
END_NUMBER = 2**53 - 1

# A step that executes longer than this gets an event for its start; quicker ones are reported when they end.
STARTED_AFTER_SECONDS = 0.02

# What one `progress` may hold, in characters and in bytes of JSON, and how many there may be of one step in one pass.
LONGEST_TEXT = 1000
LONGEST_DATA = 4096
MOST_PROGRESS = 1000

# Of one event: traceback and long texts stay with the memo.
LONGEST_MESSAGE = 2000


class RunEvent(Struct, frozen=True, gc=False):
    """
    One thing that happened in a run.

    Attributes:
        at: When, in seconds since the epoch.
        kind: One of `KINDS`.
        data: A JSON object, without `at`.
        id: Its number, which grows within the run; 0 while it is not stored.
    """

    run_id: str
    at: float
    kind: str
    data: str
    id: int = 0


class ErrorData(Struct, frozen=True, gc=False):
    """An error as events report it."""

    name: str
    message: str


class AttemptData(Struct, frozen=True, gc=False, omit_defaults=True):
    """Data of an attempt that executes."""

    step: str
    attempt: int
    text: str | None = None


class StartData(Struct, frozen=True, gc=False):
    """Data of a run that was accepted."""

    worker: str
    pid: int | None
    epoch: int
    endpoint: str
    method: str
    path: str


class AttemptEnded(Struct, frozen=True, gc=False, omit_defaults=True):
    """Data of an attempt that has ended, and of a step that waits."""

    step: str
    op: str = ""
    attempt: int | None = None
    started_at: float | None = None
    duration: float | None = None
    error: ErrorData | None = None
    until: float | None = None


def start_of(run: Run, worker: str, pid: int | None) -> RunEvent:
    """Return the first event of a run: its row tells all of it."""
    data = StartData(worker, pid, 1, run.endpoint, run.request.method, run.request.path)
    return RunEvent(run.id, run.created_at, RUN_STARTED, encoded(data), START_NUMBER)


def progress_data(key: str, attempt: int, text: str, data: str) -> str:
    """Return the data of a `progress`; *data* is a JSON object, or empty."""
    fields = encoded(AttemptData(key, attempt, text))
    return f'{fields[:-1]},"data":{data}}}' if data else fields


def end_of(run: Run) -> RunEvent:
    """Return the last event of a run that has ended: its row tells all of it."""
    ended_at = run.created_at if run.ended_at is None else run.ended_at
    status = http.without_response(run).status if run.response is None else run.response.status
    data: dict[str, Any] = {"status": status, "duration": round(ended_at - run.created_at, 6)}
    if run.failure is not None:
        data["error"] = error_data(run.failure)
    return RunEvent(run.id, ended_at, ENDED[run.status], encoded(data), END_NUMBER)


def error_data(failure: Failure | None) -> ErrorData | None:
    """Return what events report of *failure*: no traceback, and only the beginning of a long text."""
    return None if failure is None else ErrorData(failure.name, shortened(failure.message, LONGEST_MESSAGE))


def shortened(text: str, longest: int) -> str:
    """Return *text*, with an ellipsis in place of what is over *longest* characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def encoded(data: Struct | Mapping[str, Any]) -> str:
    """Return *data* as JSON text. Text that is not valid Unicode is escaped: an event never fails what it reports."""
    try:
        return _encode(data).decode()
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(data), separators=(",", ":"))


_encode = msgspec.json.Encoder().encode
