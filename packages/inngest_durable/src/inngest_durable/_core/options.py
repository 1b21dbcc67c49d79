"""Options of one step."""

from __future__ import annotations

from msgspec import Struct

from .duration import Duration, seconds
from .names import is_name
from .retry import RetryPolicy, retry_policy


class StepOptions(Struct, frozen=True):
    """
    A step's name together with its own settings, in place of the name.

    Args:
        id: Name of the step, e.g. ``"process-payment"``.
        retries: Its own `RetryPolicy`; or an int for ``max_retries``, with the pauses of the endpoint's policy; None
            takes all of that.
        timeout: How long one attempt may take, e.g. ``"10s"``. After that the attempt fails with `StepTimeoutError`,
            and the next follows the policy. An ``async def`` function is cancelled; a ``def`` one cannot be stopped, so
            the next attempt waits until it returns, and its result is dropped.

    Raises:
        ValueError: *id* is empty or not valid Unicode, *retries* is negative, or *timeout* is not a duration.
    """

    id: str
    retries: RetryPolicy | int | None = None
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        if not is_name(self.id):
            raise ValueError(f"a step's ID is a non-empty text of Unicode characters, not {self.id!r}")
        retry_policy(self.retries, _DEFAULT)
        if self.timeout is not None:
            seconds(self.timeout)

    @staticmethod
    def parts(step_id: str | StepOptions) -> tuple[str, RetryPolicy | int | None, float | None]:
        """Return the name of a step, its own retries, and the seconds an attempt may take, where it has them."""
        # What nearly every step passes.
        if type(step_id) is str and step_id and step_id.isascii():
            return step_id, None, None
        return _parts(step_id)


# Whose number of retries is checked, and nothing else.
_DEFAULT = RetryPolicy()


def _parts(step_id: str | StepOptions) -> tuple[str, RetryPolicy | int | None, float | None]:
    options = step_id if isinstance(step_id, StepOptions) else StepOptions(step_id)
    timeout_seconds = None if options.timeout is None else seconds(options.timeout)
    return options.id, options.retries, timeout_seconds
