"""What the server is to schedule for a run that waits, or that a pass holds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

from msgspec import Raw

from .op_ids import lease_id, wake_id
from .ops import Op, sleep, step_hash
from .waits import Waits

# A lease ends later than the hold by this much: clocks differ a little between machines.
SLACK_SECONDS = 1.0


def plan(n: int, wake_at: float, waits: Waits, found: Mapping[str, Raw], now: float) -> list[Op]:
    """
    Return the operations that bring back a run which waits.

    Args:
        n: The pass that has parked it.
        wake_at: When it is due, in seconds since the epoch.
        waits: What its steps wait for. The server gives up each wait in time, which wakes the run too.
        found: What the server has stored of the run.
        now: Current time.
    """
    ops = waits.ops(now, found)
    # The server says nothing of a signal that it does not wait for, because another run does: no timeout would come.
    if not ops or wake_at < waits.first_timeout(found) or any(op.op == "WaitForSignal" for op in ops):
        ops.append(sleep(_unused(lambda k: wake_id(n, k), found), max(0.0, wake_at - now), "wake-up"))
    return ops


def lease(n: int, until: float, found: Mapping[str, Raw], now: float) -> Op:
    """Return the operation that brings back a run whose pass *n* dies: after *until*, when it holds it no longer."""
    left = max(0.0, until - now) + SLACK_SECONDS
    return sleep(_unused(lambda k: lease_id(n, int(until) + k), found), left, "lease")


def _unused(op_id: Callable[[int], str], found: Mapping[str, Raw]) -> str:
    """Return the first ID under which nothing has ended yet: the server ignores an operation that it has."""
    return next(found_id for k in count() if step_hash(found_id := op_id(k)) not in found)
