"""What the passes on an Inngest server need of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from ..._core.model import RecordedRequest, Run
from ..attempts import Starts
from ..base import Clock
from .api import InngestApi
from .delivery import Outages
from .follow import Followed
from .protocol import Created, Op

T = TypeVar("T")


class ClaimOwner(Outages, Protocol):
    """
    What a claim needs of the engine.

    Attributes:
        api: The server.
        starts: Tells the starts of attempts.
        followed: Is told what happens in runs.
        lease_seconds: How long a pass may live without a sign.
        worker_id: This process.
        withdrawn: Runs that could not be accepted whole, and are to be cancelled.
    """

    api: InngestApi
    clock: Clock
    starts: Starts
    followed: Followed
    lease_seconds: float
    worker_id: str
    withdrawn: set[str]

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work in the background."""

    async def create(self, run: Run, first: Op) -> Created:
        """Create a run on the server with its first record, or find it there."""

    def kept(self, request: RecordedRequest) -> RecordedRequest:
        """Return a request with the headers that are kept with its run."""

    def created(self, run: Run) -> Created | None:
        """Return the IDs of a run on the server, if a run of its endpoint was created by this process."""

    def interrupt(self, run_id: str, reason: str) -> None:
        """Interrupt the pass of a run."""
