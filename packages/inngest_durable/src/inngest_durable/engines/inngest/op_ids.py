"""The IDs of the operations by which a run keeps at an Inngest server what belongs to it. Pure."""

from __future__ import annotations

from ..._core.model import StepOp

_OWN = "inngest-durable:"
REQUEST_RECORD_ID = f"{_OWN}request"

# Which operation a step that waits for others has besides its memo.
_WAITS = {StepOp.WAIT_FOR_EVENT: "event", StepOp.WAIT_FOR_SIGNAL: "signal", StepOp.INVOKE: "run"}


def memo_id(key: str) -> str:
    """
    Return the ID of the operation that records a step's final memo: the step's key.

    ``#`` is doubled, and the beginning of this package's own IDs changed, so that no key is another record's ID.
    """
    op_id = key.replace("#", "##")
    return op_id.replace(":", "#:", 1) if op_id.startswith(_OWN) else op_id


def wait_id(key: str, op: StepOp) -> str:
    """Return the ID of the operation by which the server waits for what the step waits for."""
    return f"{memo_id(key)}#{_WAITS[op]}"


def pass_id(n: int) -> str:
    """Return the ID of the operation that claims the run for pass *n*."""
    return f"{_OWN}pass:{n}"


def lease_id(n: int, k: int) -> str:
    """Return the ID of the sleep after which the server calls if pass *n* has died; *k* counts these from 0."""
    return f"{_OWN}lease:{n}:{k}"


def wake_id(n: int, k: int) -> str:
    """Return the ID of the sleep until the run that pass *n* has parked is due; *k* counts these from 0."""
    return f"{_OWN}wake:{n}:{k}"


def now_id(n: int) -> str:
    """Return the ID of the operation that has the run entered at once after pass *n*."""
    return f"{_OWN}now:{n}"
