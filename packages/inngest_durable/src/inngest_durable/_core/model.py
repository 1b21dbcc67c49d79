"""
What is recorded: runs, memos, requests and responses. Frozen data and the table of status changes; no behaviour
that needs a clock, a database or a network.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

Headers = tuple[tuple[bytes, bytes], ...]


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return not RUN_TRANSITIONS[self]


# The only status changes a store makes. The run of a worker that died is set to waiting, and is due at once; a deadline
# passes in a pass. So a run goes on in one way, whatever it waits for.
RUN_TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.RUNNING: frozenset({RunStatus.WAITING, RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}),
    RunStatus.WAITING: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


class StepOp(StrEnum):
    """What kind of step made a memo."""

    RUN = "run"
    SLEEP = "sleep"
    WAIT_FOR_EVENT = "wait-for-event"
    SEND_EVENT = "send-event"
    WAIT_FOR_SIGNAL = "wait-for-signal"
    SEND_SIGNAL = "send-signal"
    INVOKE = "invoke"

    @property
    def waits_for_others(self) -> bool:
        """Whether the memo of a step of this kind is completed by what it waits for: event, signal or another run."""
        return self in (StepOp.WAIT_FOR_EVENT, StepOp.WAIT_FOR_SIGNAL, StepOp.INVOKE)


class StepState(StrEnum):
    """Where a step stands. A completed or failed step is memoized: it never runs again in its run."""

    RETRYING = "retrying"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"


class Failure(Struct, frozen=True, gc=False, omit_defaults=True):
    """
    An exception as it is recorded: class name, text, and the traceback as text.

    *run_id* is the run in which it was raised, if that is another one: a child run.
    """

    name: str
    message: str
    traceback: str = ""
    run_id: str = ""


class Memo(Struct, frozen=True, gc=False):
    """
    What is recorded of one step.

    Attributes:
        key: The step ID made unique in its run.
        id: The step ID as the handler gave it.
        attempt: Attempts that have ended: 0 before the first failure, 1 after success at the first attempt.
        result: The result of a completed step, as JSON bytes.
        failure: The last attempt's exception, for a retrying or failed step.
        wake_at: When a retrying or waiting step is to go on, in seconds since the epoch.
        fingerprint: Which function and arguments made a numbered or branch key; empty for other keys.
    """

    key: str
    id: str
    op: StepOp
    state: StepState
    attempt: int = 0
    result: bytes | None = None
    failure: Failure | None = None
    wake_at: float | None = None
    fingerprint: str = ""

    @property
    def is_final(self) -> bool:
        """Whether the step is memoized."""
        return self.state is StepState.COMPLETED or self.state is StepState.FAILED


class RecordedRequest(Struct, frozen=True, gc=False):
    """The client's request as the edge received it, enough to hand it to the application again."""

    method: str
    scheme: str
    root_path: str
    path: str
    raw_path: bytes
    query_string: bytes
    headers: Headers
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    http_version: str
    body: bytes

    @property
    def own_path(self) -> str:
        """The path below the root path: in an ASGI scope the path begins with that, in a WSGI environ it does not."""
        root_path = self.root_path.rstrip("/")
        return self.path.removeprefix(root_path) if f"{self.path}/".startswith(f"{root_path}/") else self.path

    def header(self, name: bytes) -> str | None:
        """Return the first header with that name (lower case), or None."""
        return first_header(self.headers, name)


def first_header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the first of *headers* that has this *name* (lower case), or None."""
    for given, value in headers:
        if given == name or given.lower() == name:
            return value.decode("latin-1")
    return None


class RecordedResponse(Struct, frozen=True, gc=False):
    """What the framework actually sent for a finished run."""

    status: int
    headers: Headers
    body: bytes


class Idempotency(Struct, frozen=True, gc=False):
    """
    What makes two requests the same: the first run answers all of them.

    Attributes:
        scope: Digest of the endpoint and of the key's owner; another scope is another run.
        key: The ``Idempotency-Key`` header.
        digest: Digest of method, path, query and body; the same key with another request is an error.
    """

    scope: str
    key: str
    digest: str


class Run(Struct, frozen=True, gc=False):
    """
    One client request to an endpoint, from acceptance to its final response.

    Attributes:
        id: ULID.
        attempt: Current attempt of the handler, 1-based.
        epoch: Number of the pass that may write to this run; a write with another epoch is refused.
        owner: Worker whose pass runs, or empty.
        wake_at: When a waiting run is due, in seconds since the epoch.
        quiet_seconds: Quiet time of the next pass before it is interrupted (see `_pass`).
        recoveries: Deaths of a worker while it ran a pass of this run, since the last new final memo.
        created_at, ended_at: Seconds since the epoch.
        deadline: When the run fails if it has not ended, in seconds since the epoch.
        idempotency: Which other requests it answers.
    """

    id: str
    app_id: str
    endpoint: str
    request: RecordedRequest
    created_at: float
    status: RunStatus = RunStatus.RUNNING
    attempt: int = 1
    epoch: int = 1
    owner: str = ""
    wake_at: float | None = None
    quiet_seconds: float = 0.0
    recoveries: int = 0
    response: RecordedResponse | None = None
    failure: Failure | None = None
    ended_at: float | None = None
    deadline: float | None = None
    idempotency: Idempotency | None = None


class Park(Struct, frozen=True, gc=False):
    """The run waits: until when, at which attempt of the handler, and how quiet its next pass has to be."""

    wake_at: float
    attempt: int
    quiet_seconds: float = 0.0


class Finish(Struct, frozen=True, gc=False):
    """The run has ended."""

    status: RunStatus
    response: RecordedResponse | None
    failure: Failure | None = None
