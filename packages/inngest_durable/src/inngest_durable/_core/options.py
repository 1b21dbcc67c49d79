"""Options of one step."""

from __future__ import annotations

import functools

from msgspec import Struct

from .duration import Duration, seconds
from .retry import RetryPolicy, retry_policy


class StepOptions(Struct, frozen=True):
    """
    A step's name together with its own settings, in place of the name.

    Args:
        id: Name of the step, e.g. ``"process-payment"``.
        retries: Its own `RetryPolicy`, or an int for ``max_retries``; None takes the endpoint's.
        timeout: How long one attempt may take, e.g. ``"10s"``. Then the attempt fails with `StepTimeoutError`, and
            the next follows the policy. An ``async def`` function is cancelled; a ``def`` one cannot be stopped, so
            the next attempt waits until it returns, and what it returns is dropped.

    Raises:
        ValueError: *id* is empty, *retries* is negative, or *timeout* is not a duration.
    """

    id: str
    retries: RetryPolicy | int | None = None
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        if not self.id or not isinstance(self.id, str):
            raise ValueError(f"a step's ID is a non-empty text, not {self.id!r}")
        retry_policy(self.retries)
        if self.timeout is not None:
            seconds(self.timeout)

    @classmethod
    def of(cls, step_id: str | StepOptions) -> StepOptions:
        """Return *step_id* as options."""
        return step_id if isinstance(step_id, StepOptions) else _plain(step_id)

    @property
    def timeout_seconds(self) -> float | None:
        """The time one attempt may take, if it is limited."""
        return None if self.timeout is None else seconds(self.timeout)

    @property
    def policy(self) -> RetryPolicy | None:
        """The step's own retry policy, if it has one."""
        return retry_policy(self.retries)


@functools.lru_cache(maxsize=1024)
def _plain(step_id: str) -> StepOptions:
    """Return the options of a step that has a name only; an application has few of those."""
    return StepOptions(step_id)
