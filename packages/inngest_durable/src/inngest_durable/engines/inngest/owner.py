"""What the passes on an Inngest server need of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from ..attempts import Starts
from ..base import Clock
from .api import InngestApi
from .creations import Creations
from .follow import Followed
from .health import Health

T = TypeVar("T")


class ClaimOwner(Protocol):
    """
    What a claim needs of the engine.

    Attributes:
        api: The server.
        creations: Creates runs there.
        health: Gets notice of outages.
        starts: Reports the starts of attempts.
        followed: Gets notice of what happens in runs.
        lease_seconds: How long a pass may go without a sign of life.
        worker_id: This process.
        withdrawn: Runs that could not be accepted whole, and are to be cancelled.
    """

    api: InngestApi
    creations: Creations
    health: Health
    clock: Clock
    starts: Starts
    followed: Followed
    lease_seconds: float
    worker_id: str
    withdrawn: set[str]

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work in the background."""

    def interrupt(self, run_id: str, reason: str) -> None:
        """Interrupt the pass of a run."""
