"""The idempotency key of a step: known inside its function, and still known when it has failed. Pure."""

from __future__ import annotations

from hashlib import blake2b


def idempotency_key(run_id: str, step_key: str) -> str:
    """Return the key of step *step_key* of a run: the same at every attempt, in every process."""
    return blake2b(f"{run_id}\0{step_key}".encode(), digest_size=16).hexdigest()
