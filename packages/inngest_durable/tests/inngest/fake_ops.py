"""What the fake server does with each opcode: in a checkpoint, and in the answer to a re-entry."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from packages.inngest_durable.tests.inngest.fake_checks import can_compile
from packages.inngest_durable.tests.inngest.fake_pace import Pace
from packages.inngest_durable.tests.inngest.fake_reading import Ops
from packages.inngest_durable.tests.inngest.fake_runs import Runs
from packages.inngest_durable.tests.inngest.fake_state import (
    COMPLETED,
    FAILED,
    MAX_OUTPUT_BYTES,
    MAX_PAUSE_SECONDS,
    MAX_STATE_BYTES,
    Job,
    Json,
    Received,
    Run,
    Wait,
)
from packages.inngest_durable.tests.inngest.fake_wire import compact, mentions_event, time_left

_LAZY = ("DeferAdd", "DeferAbort")
# Several opcodes in one answer, one of these among them: the end of the last one enters the run, unless they race.
_PLANS = ("StepPlanned", "Sleep", "WaitForEvent", "WaitForSignal", "InvokeFunction")
_ERROR_FIELDS = ("name", "message", "stack", "data", "noRetry", "cause")


class OpError(Exception):
    """An opcode cannot be processed: lost in a checkpoint; in an answer, the re-entry is retried."""


class FatalOpError(OpError):
    """An opcode that ends the run as Failed if it comes in an answer."""


class Panic(Exception):  # noqa: N818  # the server's word
    """The server breaks on an opcode: it answers 500, and nothing enters the run again."""


class Operations:
    """Processes opcodes."""

    def __init__(self, runs: Runs, pace: Pace) -> None:
        self._runs = runs
        self._pace = pace
        self._handlers: dict[str, Callable[[Run, Json], None]] = {
            "DiscoveryRequest": self._discover,
            "Sleep": self._sleep,
            "StepPlanned": self._plan,
            "WaitForEvent": self._wait_for_event,
            "WaitForSignal": self._wait_for_signal,
            "InvokeFunction": self._invoke,
        }

    def checkpoint(self, run: Run | None, received: list[Received]) -> None:
        """
        Process a checkpoint, of a run whose state may be gone. Whatever goes wrong is swallowed, but for `Panic`.

        Args:
            received: The opcodes; marked as not stored where nothing came of them.
        """
        for each in received:
            each.is_stored = False
        if run is None or run.actions is None:
            return
        is_complete = any(each.name == "RunComplete" for each in received)
        if len([each for each in received if each.name not in _LAZY]) > 1:
            run.is_planned = True
        if not is_complete and run.state_bytes + sum(_size(each.op) for each in received) > MAX_STATE_BYTES:
            return
        for each in received:
            if each.name == "StepRun" and _size(each.op) > MAX_OUTPUT_BYTES:
                return
            try:
                each.is_stored = self._checkpoint(run, each.op, is_complete)
            except OpError:
                continue

    def answer(self, run: Run, job: Job, answer: Ops) -> float | None:
        """
        Process what a re-entry answered.

        Returns:
            Seconds after which *job* is to be tried again; negative for the usual pause; None if it is done.

        Raises:
            OpError: The re-entry is to be retried.
            FatalOpError: The run is to fail.
        """
        retry: float | None = None
        planned = [op["id"] for op in answer.ops if op["op"] not in (*_LAZY, "None")]
        if len(planned) > 1:
            run.is_planned = True
            if any(op["op"] in _PLANS for op in answer.ops):
                run.pending = set(planned) - (run.actions or {}).keys()
        for op in answer.ops:
            if run.actions is None:
                return None
            if op["op"] == "StepError" and self._may_retry(run, op, job.attempt, answer.may_retry):
                retry = -1.0 if answer.retry_seconds is None else answer.retry_seconds
            elif op["op"] == "StepRun":
                self._ran(run, op)
            else:
                self._handle(run, op)
        return retry

    def _checkpoint(self, run: Run, op: Json, is_complete: bool) -> bool:
        """Process one opcode of a checkpoint. Tells whether anything came of it."""
        if op["op"] in ("StepRun", "Step"):
            # The state of a run that ends is not kept.
            return is_complete or self._runs.store(run, op["id"], {"data": op.get("data")}, _size(op))
        if op["op"] == "RunComplete":
            self._complete(run, op.get("data") or {})
            return True
        if op["op"] == "WaitForEvent" and mentions_event(str((op.get("opts") or {}).get("if") or "")):
            raise Panic(op["id"])
        if op["op"] == "StepError" and self._may_retry(run, op, 0, may_retry=True):
            self._runs.enqueue(run, f"{op['id']}-sync-retry", "edge", self._pace.first_retry_seconds, attempt=1)
            return True
        before = len(run.job_keys)
        self._handle(run, op)
        return len(run.job_keys) > before

    def _handle(self, run: Run, op: Json) -> None:
        if op["op"] in ("StepError", "StepFailed"):
            self._failed(run, op)
        elif (handler := self._handlers.get(op["op"])) is not None:
            handler(run, op)
        elif op["op"] not in (*_LAZY, "None"):
            self._runs.violations.append(f"run {run.run_id}: the fake server does not know what {op['op']} does")

    def _complete(self, run: Run, data: Json) -> None:
        status, body = data.get("status", 0), str(data.get("body") or "")
        is_ok = 200 <= status <= 299
        try:
            listed = json.loads(body)
        except ValueError:
            listed = body
        self._runs.end(run, COMPLETED if is_ok else FAILED, body.encode(), {"duration": 0, **data}, listed=listed)

    def _may_retry(self, run: Run, op: Json, attempt: int, may_retry: bool) -> bool:
        no_retry = not may_retry or (op.get("error") or {}).get("noRetry")
        return not no_retry and attempt + 1 < self._runs.attempts(run)

    def _ran(self, run: Run, op: Json) -> None:
        size = _size(op)
        if run.state_bytes + size > MAX_STATE_BYTES:
            raise FatalOpError("InngestErrStateOverflowed")
        # A second result of a step is swallowed, with what would follow.
        if self._runs.store(run, op["id"], {"data": op.get("data")}, size):
            self._discover_next(run, op["id"])

    def _failed(self, run: Run, op: Json) -> None:
        error = {name: op["error"][name] for name in _ERROR_FIELDS if (op.get("error") or {}).get(name)}
        if self._runs.store(run, op["id"], {"error": error}):
            self._discover_next(run, f"{op['id']}-failure")

    def _discover_next(self, run: Run, key: str) -> None:
        if not run.pending:
            run.is_planned = False
            self._runs.enqueue(run, key, "edge")

    def _discover(self, run: Run, op: Json) -> None:
        self._runs.enqueue(run, op["id"], "edge")

    def _plan(self, run: Run, op: Json) -> None:
        self._runs.enqueue(run, f"{op['id']}-plan", "edge", step_id=op["id"])

    def _sleep(self, run: Run, op: Json) -> None:
        seconds = self._seconds(op.get("name") or (op.get("opts") or {}).get("duration"))
        if op["id"] in (run.actions or {}):
            return
        self._runs.enqueue(run, op["id"], "sleep", seconds, settles=op["id"], is_race=_is_race(op))

    def _wait_for_event(self, run: Run, op: Json) -> None:
        opts = op.get("opts") or {}
        expression = opts.get("if") or ""
        if expression and not can_compile(expression):
            raise FatalOpError("InvalidExpression")
        self._wait(run, op, "event", opts.get("event") or op.get("name") or "", expression)

    def _wait_for_signal(self, run: Run, op: Json) -> None:
        opts = op.get("opts") or {}
        if not opts.get("signal"):
            raise OpError("signal name is empty")
        others = [wait for wait in self._runs.waits if (wait.kind, wait.name) == ("signal", opts["signal"])]
        for other in others:
            if (other.run_id, other.op_id) == (run.run_id, op["id"]):
                continue
            if opts.get("conflict") != "replace":
                if op["id"] in run.job_keys:
                    # Told once, in a checkpoint where nobody heard it.
                    return
                run.job_keys.add(op["id"])
                raise FatalOpError("Signal conflict; signal wait already exists for another run")
            self._runs.waits.remove(other)
        self._wait(run, op, "signal", opts["signal"], "")

    def _wait(self, run: Run, op: Json, kind: str, name: str, expression: str) -> None:
        timeout = (op.get("opts") or {}).get("timeout")
        # Without a timeout, it has expired already.
        seconds = 0.0 if timeout is None else self._seconds(timeout)
        if op["id"] not in (run.actions or {}) and self._runs.enqueue(
            run, op["id"], "pause", seconds, settles=op["id"], is_race=_is_race(op)
        ):
            expires = self._runs.clock.now() + seconds
            self._runs.waits.append(Wait(run.run_id, op["id"], kind, name, expression, expires, _is_race(op)))

    def _invoke(self, run: Run, op: Json) -> None:
        function = (op.get("opts") or {}).get("function_id")
        error = {"name": "InngestErrFunctionNotFound", "message": f"could not find function with ID: {function}"}
        if self._runs.store(run, op["id"], {"error": error}):
            self._discover_next(run, op["id"])

    def _seconds(self, text: Any) -> float:
        seconds = time_left(text, self._runs.clock.now())
        if seconds is None:
            raise OpError(f"no duration: {text!r}")
        if seconds > MAX_PAUSE_SECONDS:
            raise FatalOpError(f"too long: {text!r}")
        return max(0.0, seconds)


def failure(error: Exception) -> bytes:
    """Return what is kept of a run that an opcode ended."""
    return json.dumps({"name": "Error", "message": str(error)}).encode()


def _is_race(op: Json) -> bool:
    return (op.get("opts") or {}).get("parallelMode") == "race"


def _size(op: Json) -> int:
    return len(compact({"data": op.get("data")})) - 1 if op.get("op") == "StepRun" else 0
