"""
Which pass, branch and step the running code belongs to.

The value is context-local and says the same for ever, so a task keeps what was in force where it was started: that
is how a branch knows its parent, and how a step inside a step is noticed.
"""

from __future__ import annotations

from contextvars import ContextVar
from hashlib import blake2b
from typing import TYPE_CHECKING

from msgspec import Struct

from ._core.journal import Branch, StepIdentity
from .errors import NestedStepError, OutsideEndpointError, OutsideStepError, StepUsageError

if TYPE_CHECKING:
    from ._pass import Pass


class Scope(Struct, eq=False):
    """
    Where the running code stands.

    Attributes:
        task: The task or thread that *branch* belongs to; another one here means that a branch was started.
        prefix: Prefix of *branch* when this scope was entered.
        step: The step whose function runs, if any.
    """

    current_pass: Pass
    branch: Branch
    task: object
    prefix: str
    step: StepIdentity | None


scope: ContextVar[Scope] = ContextVar("inngest_durable.scope")


def misplaced(step_id: str, found: Scope | None) -> StepUsageError:
    """Return the error of step *step_id*, which was called where there is no pass, or inside a step's function."""
    if found is None or found.step is None:
        return OutsideEndpointError(f"step {step_id!r} was used outside an endpoint")
    text = f"step {step_id!r} was started inside step {found.step.key!r}"
    return NestedStepError(text, found.step.run_id, step_id)


def idempotency_key() -> str:
    """Return the key of the step whose function runs: the same at every attempt, in every process."""
    found = scope.get(None)
    if found is None or found.step is None:
        raise OutsideStepError("idempotency_key() was called outside a step's function")
    text = f"{found.step.run_id}\0{found.step.key}".encode()
    return blake2b(text, digest_size=16).hexdigest()
