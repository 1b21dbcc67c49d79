"""What the fake server keeps: runs with their state, queue jobs, waits, and a record of all that happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

RUNNING, COMPLETED, FAILED, CANCELLED = "Running", "Completed", "Failed", "Cancelled"
MIB = 1024 * 1024
MAX_CREATE_BYTES = 4 * MIB
MAX_OUTPUT_BYTES = 4 * MIB
MAX_STATE_BYTES = 32 * MIB
MAX_ANSWER_BYTES = 8 * MIB
MAX_PAUSE_SECONDS = 366 * 86400.0


@dataclass(slots=True)
class Job:
    """
    One queue job: a re-entry to come.

    Attributes:
        at: When it is due, by the fake's clock.
        step_id: Hash of the step to run, for a planned one.
        settles: Hash of the opcode whose value is null once the job is due: a sleep, or a wait that timed out.
        attempt: Dispatches that failed, counting a failure in the sync phase.
        generation: Number of the next dispatch, from 1.
        is_race: Whether it enters the run although other opcodes of the same answer are pending.
    """

    job_id: str
    run_id: str
    kind: str
    at: float
    step_id: str = ""
    settles: str = ""
    attempt: int = 0
    generation: int = 1
    is_dispatched: bool = False
    is_race: bool = False


@dataclass(slots=True)
class Wait:
    """A step that waits for an event (*name*, *expression*) or for a signal (*name*); *is_race* as in `Job`."""

    run_id: str
    op_id: str
    kind: str
    name: str
    expression: str
    expires: float
    is_race: bool = False


@dataclass(slots=True)
class Received:
    """An opcode that the server was sent: in a checkpoint (``"sync"``) or in a response (``"re-entry"``)."""

    op: Json
    source: str
    is_stored: bool = True

    @property
    def name(self) -> str:
        """What it does, e.g. ``"StepRun"``."""
        return str(self.op.get("op"))

    @property
    def step(self) -> str:
        """The step's ID before hashing, with its index."""
        userland = self.op.get("userland") or {}
        index = userland.get("index")
        return f"{userland.get('id', '')}{f':{index}' if index else ''}"


@dataclass(slots=True)
class Dispatch:
    """
    One request of the server to the application.

    Attributes:
        status: What it was answered with; 0 while it is under way, or if the application could not be reached.
        error: Why it could not be reached.
        is_applied: Whether the answer counted: that of a second delivery does not.
    """

    run_id: str
    job_id: str
    request_id: str
    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes
    at: float
    status: int = 0
    response_headers: dict[str, str] = field(default_factory=dict)
    response: bytes = b""
    error: str = ""
    is_over: bool = False
    is_applied: bool = True

    def header(self, name: str) -> str | None:
        """Return the value of a header of the request."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(slots=True)
class Function:
    """An endpoint as the server knows it. The newest create call decides, for runs that exist as well."""

    method: str
    retries: int

    @property
    def attempts(self) -> int:
        """How often a step or a re-entry is tried."""
        return (4 if self.retries < 0 else self.retries) + 1


@dataclass(slots=True)
class Run:
    """
    One run.

    Attributes:
        actions: What is memoized, by hash; None once the run has ended or a restart has lost it.
        output: What was kept of the answer; None until the run ends.
        listed: What a look at the run tells of its output.
        job_keys: Every opcode that was given a job: a second one with the same ID gets none.
        pending: Hashes of what one answer has planned or waits for, as far as it has not ended.
    """

    run_id: str
    fn_id: str
    app_id: str
    slug: str
    event: Json
    url: str
    request_version: int
    created_at: float
    body: bytes
    actions: Json | None = field(default_factory=dict)
    status: str = RUNNING
    output: bytes | None = None
    listed: Any = None
    ended_at: float | None = None
    state_bytes: int = 0
    is_planned: bool = False
    ops: list[Received] = field(default_factory=list)
    job_keys: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status != RUNNING

    def steps(self, op: str = "StepRun", *, stored: bool = True) -> list[str]:
        """Return the IDs of the steps for which *op* came, in order; only those that were stored unless asked."""
        return [each.step for each in self.ops if each.name == op and (each.is_stored or not stored)]
