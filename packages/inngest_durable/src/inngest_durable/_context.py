"""
Which pass, branch and step the running code belongs to.

The value is immutable and context-local, so a task keeps what was in force where it was started: that is how a
branch knows its parent, and how a step inside a step is noticed.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from msgspec import Struct

from . import _step_keys
from ._core.journal import Branch, StepIdentity
from .errors import NestedStepError, OutsideEndpointError, OutsideStepError

if TYPE_CHECKING:
    from ._pass import Pass


class Scope(Struct, frozen=True):
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
    prefix: str = ""
    step: StepIdentity | None = None


scope: ContextVar[Scope] = ContextVar("inngest_durable.scope")


def handler_scope(step_id: str) -> Scope:
    """
    Return the scope in which step *step_id* is called.

    Raises:
        OutsideEndpointError: There is no pass.
        NestedStepError: It is called inside another step's function.
    """
    found = scope.get(None)
    if found is None:
        raise OutsideEndpointError(f"step {step_id!r} was used outside an endpoint")
    if found.step is not None:
        raise NestedStepError(
            f"step {step_id!r} was started inside step {found.step.key!r}", found.step.run_id, step_id
        )
    return found


def idempotency_key() -> str:
    """Return the key of the step whose function runs: the same at every attempt, in every process."""
    found = scope.get(None)
    if found is None or found.step is None:
        raise OutsideStepError("idempotency_key() was called outside a step's function")
    return _step_keys.idempotency_key(found.step.run_id, found.step.key)
