"""Performers of a flow's effects, for tests of flows and of what drives them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from inngest_durable._core.effects import Effect


class Awaiting:
    """
    Performs effects by *aperform*.

    Attributes:
        outcome: What the flow returned or raised, once it has ended.
    """

    def __init__(self, aperform: Callable[[Effect], Awaitable[Any]]) -> None:
        self.perform = aperform
        self.outcome: Future[Any] = Future()

    def succeeded(self, value: Any) -> None:
        """Take the result."""
        self.outcome.set_result(value)

    def failed(self, error: BaseException) -> None:
        """Take the error."""
        self.outcome.set_exception(error)
