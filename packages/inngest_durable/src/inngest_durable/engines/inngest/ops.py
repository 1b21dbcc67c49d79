"""The operations that are reported to an Inngest server, and the durations and IDs in them. Pure."""

from __future__ import annotations

import math
from hashlib import sha1
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from ...errors import LimitExceededError

# How long the server waits.
LONGEST_SECONDS = 366 * 86400.0
# Of several operations that a run waits for, the end of each brings it back; by default, only that of the last one.
_EACH = {"parallelMode": "race"}


class Op(Struct, frozen=True, omit_defaults=True):
    """
    One operation that is reported to the server.

    Attributes:
        op: Its kind, e.g. ``"StepRun"``.
        id: `step_hash` of its ID.
        name: What the kind takes for a name: a duration, or the name of an event.
        displayName: What people see.
        opts: What else the kind takes.
        data: What a step returned, as JSON.
        userland: Holds the ID itself.
        timing: When it began (``a``) and how long it took (``b``), in nanoseconds.
    """

    op: str
    id: str
    name: str = ""
    displayName: str = ""  # noqa: N815 - as it is on the wire
    userland: dict[str, str] = {}
    # Sent even if it is empty, as the server's other clients do.
    opts: dict[str, str] | UnsetType = UNSET
    data: Raw | UnsetType = UNSET
    timing: dict[str, int] | UnsetType = UNSET

    @property
    def op_id(self) -> str:
        """The ID that `id` is the hash of; empty if it is not known."""
        return self.userland.get("id", "")

    def json(self) -> bytes:
        """Return the operation as it is sent."""
        return _json.encode(self)


def step_hash(op_id: str) -> str:
    """Return the hash by which the server knows an operation's ID."""
    return sha1(op_id.encode()).hexdigest()


def step_run(
    op_id: str, display: str, data: bytes, started_at: float | None = None, ended_at: float | None = None
) -> Op:
    """Return the operation of a finished step: *data* is JSON, the times are in seconds since the epoch."""
    if started_at is None or ended_at is None:
        return _op("StepRun", op_id, display, display, data=Raw(data))
    timing = {"a": _nanoseconds(started_at), "b": max(0, _nanoseconds(ended_at - started_at))}
    return _op("StepRun", op_id, display, display, data=Raw(data), timing=timing)


def sleep(op_id: str, seconds: float, display: str) -> Op:
    """Return the operation that makes the server dispatch the run after *seconds*. Raises as `go_duration`."""
    return _op("Sleep", op_id, go_duration(seconds), display, _EACH)


def discovery(op_id: str) -> Op:
    """Return the operation that makes the server dispatch the run at once."""
    return _op("DiscoveryRequest", op_id, op_id, op_id)


def wait_for_event(op_id: str, name: str, if_exp: str, timeout_seconds: float, display: str) -> Op:
    """
    Return the operation that waits for an event.

    Args:
        op_id: Its ID.
        name: The event's name.
        if_exp: CEL over ``async``, or empty for any event of that name.
        timeout_seconds: How long to wait.
        display: What people see.

    Raises:
        LimitExceededError: The wait is too long.
    """
    opts = {"event": name, "timeout": go_duration(timeout_seconds)} | _EACH
    return _op("WaitForEvent", op_id, name, display, opts | ({"if": if_exp} if if_exp else {}))


def wait_for_signal(op_id: str, signal: str, timeout_seconds: float, display: str) -> Op:
    """Return the operation that waits for a signal; it fails if another one waits for it. Raises as `go_duration`."""
    opts = {"signal": signal, "timeout": go_duration(timeout_seconds), "conflict": "fail"} | _EACH
    return _op("WaitForSignal", op_id, signal, display, opts)


def run_complete(data: bytes) -> Op:
    """Return the operation that ends a run; *data* is what `answers.completion` returns."""
    return _op("RunComplete", "complete", "complete", "complete", data=Raw(data))


def go_duration(seconds: float) -> str:
    """
    Return a duration as the server reads it, such as ``"1.5s"`` or ``"250ms"``.

    It is rounded up to a millisecond, so that nothing is due too early, and is 1 ms at least: the server takes none
    for no duration at all.

    Raises:
        LimitExceededError: It is longer than the server waits.
        ValueError: It is not a number.
    """
    if math.isnan(seconds):
        raise ValueError("a duration is a number of seconds, not NaN")
    if seconds > LONGEST_SECONDS:
        days = "no end" if math.isinf(seconds) else f"{seconds / 86400:,.1f} days"
        raise LimitExceededError(
            f"the Inngest server waits for 366 days at most, not {days}: use several sleeps or waits one after another"
        )
    # Times are seconds since the epoch, which a float holds to some 0.2 µs: no millisecond is added for that.
    milliseconds = max(1, math.ceil(round(seconds * 1000, 3)))
    whole, rest = divmod(milliseconds, 1000)
    if not whole:
        return f"{rest}ms"
    return f"{whole}.{rest:03}".rstrip("0") + "s" if rest else f"{whole}s"


def _op(kind: str, op_id: str, name: str, display: str, opts: dict[str, str] | None = None, **others: Any) -> Op:
    return Op(kind, step_hash(op_id), name, display, {"id": op_id}, opts or {}, **others)


def _nanoseconds(seconds: float) -> int:
    # By way of whole microseconds: a float of nanoseconds since the epoch is exact to 256 only.
    return round(seconds * 1e6) * 1000


_json = msgspec.json.Encoder()
