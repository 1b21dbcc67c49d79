"""
Every error of the package. This is the bottom of the dependency chain.

::

    InngestError
     +-- StepError               a step failed for good; raised in the handler
     +-- NonRetriableError       raise it in a step or handler: do not try again
     +-- RetryAfterError         raise it in a step or handler: try again at a given time
     +-- EndpointNotReachedError a re-entry was answered by something in front of the endpoint
     +-- ConfigurationError      the client, endpoint or engine was set up wrongly
     +-- StoreError              the database cannot be used
     +-- RunNotFoundError        there is no such run
     +-- RequestTooLargeError    a request's body is over the limit
     +-- StepTimeoutError        a step's function took longer than the step's timeout
     +-- StepUsageError          steps were used in a way that cannot work; never retried
          +-- OutsideEndpointError
          |    +-- OutsideStepError  what only a step's function may call was called elsewhere
          +-- NestedStepError
          +-- StepValueError     a value has no JSON form, or a result does not come back as it was
          +-- ReplayMismatchError
          +-- LimitExceededError
          +-- EventError         an event cannot be sent, or a wait for one cannot work
          +-- SignalTakenError   another step waits for this signal
    RunInterrupt                 a BaseException: leaves the handler, never to be caught
"""

from __future__ import annotations

from datetime import datetime, timedelta

from . import _step_keys


class InngestError(Exception):
    """
    Root of every error of this package.

    *hint* says what to do. It is added as a note, so that a log line stays one line while a traceback shows the hint.
    """

    hint: str = ""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        if self.hint:
            self.add_note(self.hint)


class ConfigurationError(InngestError):
    """The client, an endpoint or the engine was set up in a way that cannot work."""


class StoreError(InngestError):
    """The database cannot be used: damaged, foreign, newer than this version, or not writable."""


class StepError(InngestError):
    """
    A step failed for good: its attempts are used up, or its error was not retriable.

    The same error is raised when the step fails and at every later replay.

    Attributes:
        run_id: ULID of the run.
        step_id: Key of the step in its run, e.g. ``"process-payment"``.
        attempt: Number of the last attempt, counted from 1.
        name: Class name of the original exception, e.g. ``"CardDeclined"``.
        message: Text of the original exception.
        traceback: Traceback of the last attempt as text.
        child_run_id: ULID of the child run that failed, or did not end in time, for `step.invoke`; else empty.
    """

    def __init__(
        self,
        run_id: str,
        step_id: str,
        attempt: int,
        name: str,
        message: str,
        traceback: str = "",
        child_run_id: str = "",
    ) -> None:
        super().__init__(run_id, step_id, attempt, name, message, traceback, child_run_id)
        self.run_id = run_id
        self.step_id = step_id
        self.attempt = attempt
        self.name = name
        self.message = message
        self.traceback = traceback
        self.child_run_id = child_run_id

    @property
    def idempotency_key(self) -> str:
        """
        The key that the step's function got from `step.idempotency_key`: 32 hexadecimal characters.

        A step that failed for good may still have had its effect; this finds it at a service that got the key.
        """
        return _step_keys.idempotency_key(self.run_id, self.step_id)

    def __str__(self) -> str:
        tries = "1 attempt" if self.attempt == 1 else f"{self.attempt} attempts"
        child = f" child={self.child_run_id}" if self.child_run_id else ""
        failed = f"step {self.step_id!r} failed after {tries}: {self.name}: {self.message}"
        where = f" [run={self.run_id} step={self.step_id}{child}]"
        # What was wrong with the step's use says where by itself.
        return failed if failed.endswith(where) else failed + where


class EndpointNotReachedError(InngestError):
    """
    A re-entry was answered without reaching its endpoint: by an auth hook, a limiter or a missing route.

    Recorded with a run that failed for this reason; never raised in a handler.
    """

    hint = "Let re-entries pass in that hook, or bring the endpoint's route back."

    def __init__(self, what: str, run_id: str) -> None:
        super().__init__(what, run_id)
        self.what = what
        self.run_id = run_id

    def __str__(self) -> str:
        return f"{self.what} [run={self.run_id}]"


class NonRetriableError(InngestError):
    """Raise it in a step or a handler when trying again cannot help, e.g. a declined card."""


class RetryAfterError(InngestError):
    """
    Raise it in a step or a handler to say when to try again. It still uses up one attempt.

    Args:
        message: What happened.
        retry_after: Pause before the next attempt (``"30s"`` or a timedelta), or an aware datetime.
    """

    def __init__(self, message: str, retry_after: str | timedelta | datetime) -> None:
        super().__init__(message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[0])


class StepUsageError(InngestError):
    """
    Steps were used in a way that cannot work. Never retried: the same code would fail again.

    Args:
        what: What happened, in one sentence.
        run_id: ULID of the run, or an empty string outside a run.
        step_id: Key of the step, or an empty string.
    """

    def __init__(self, what: str, run_id: str = "", step_id: str = "") -> None:
        super().__init__(what, run_id, step_id)
        self.what = what
        self.run_id = run_id
        self.step_id = step_id

    def __str__(self) -> str:
        where = [f"run={self.run_id}"] if self.run_id else []
        where += [f"step={self.step_id}"] if self.step_id else []
        return f"{self.what} [{' '.join(where)}]" if where else self.what


class OutsideEndpointError(StepUsageError):
    """A step was used outside a handler wrapped by ``@inngest.endpoint``."""

    hint = (
        "Call steps from a handler under @inngest.endpoint, which goes below the route's decorator, or from a task "
        "that the handler started, before it returns; in threads by group.parallel, which knows their handler."
    )


class OutsideStepError(OutsideEndpointError):
    """`step.idempotency_key` or `progress` was called outside a step's function."""

    hint = "Call it in the function that you give to step.run: it tells of that step."


class NestedStepError(StepUsageError):
    """A step was started inside another step's function."""

    hint = "Call steps from the handler, or make the inner call a plain function call."


class StepValueError(StepUsageError):
    """A step's result or a report of progress has no JSON form, or a result does not come back as it was."""

    hint = "Use JSON types, dataclasses, TypedDicts or other types that msgspec encodes, and annotate a step's result."


class ReplayMismatchError(StepUsageError):
    """A replay reached a memo that was made by another kind of step, another function or other arguments."""

    hint = "Give concurrent steps distinct IDs, and take arguments that change (time, random) from a step's result."


class LimitExceededError(StepUsageError):
    """A limit of the engine was reached; the text names the limit, the value and how to raise it."""


class EventError(StepUsageError):
    """An event or signal cannot be sent, or a step cannot wait for it as it was asked to."""


class SignalTakenError(StepUsageError):
    """Another step waits for a signal of this name, and only one can; the text names its run."""

    hint = "Make the name unique, e.g. with the run's ID in it, or wait for an event: many runs can."


class RunNotFoundError(InngestError):
    """There is no run with that ID: it was never accepted, or was deleted some time after its end."""


class RequestTooLargeError(InngestError):
    """The body of a request to an endpoint is over the limit; it is answered ``413`` and nothing is recorded."""


class StepTimeoutError(InngestError):
    """A step's function did not return within the step's timeout; retried like any other error."""


class RunInterrupt(BaseException):
    """
    Leaves the handler because its run must wait, or the process must stop. The run goes on by re-entry.

    It is a BaseException so that ``except Exception`` in a handler does not stop it, like `asyncio.CancelledError`.
    Catching it in a handler changes nothing: the handler's outcome is discarded, and every further step is refused.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the run is interrupted ({self.reason}) and will be re-entered later: let this pass through; "
            "if you see it, a bare `except:` or `except BaseException:` caught it"
        )
