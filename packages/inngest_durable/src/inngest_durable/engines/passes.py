"""The passes that run in this process, as an engine sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .base import Claim


class LivePass(Protocol):
    """
    A pass that runs in this process, as the engine sees it.

    Attributes:
        claim: What it writes with.
    """

    claim: Claim

    def interrupt(self, reason: str) -> None:
        """Leave the handler; steps in flight end and are checkpointed."""

    def let_go(self, reason: str) -> None:
        """Leave the handler without waiting for checkpoints that cannot be written at the moment."""


class PassSet:
    """The passes that run in this process. Not safe across threads: used on the engine's event loop."""

    def __init__(self) -> None:
        self._passes: set[LivePass] = set()
        self._interrupted = ""
        self._empty: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._passes)

    @property
    def interrupted(self) -> str:
        """Why all of them were interrupted, and those to come are; or empty."""
        return self._interrupted

    def add(self, live_pass: LivePass) -> None:
        """Note that *live_pass* has begun."""
        self._passes.add(live_pass)
        if self._interrupted:
            live_pass.interrupt(self._interrupted)

    def discard(self, live_pass: LivePass) -> None:
        """Note that *live_pass* has ended and has written what it had to write."""
        self._passes.discard(live_pass)
        if not self._passes:
            for future in self._empty:
                if not future.done():
                    future.set_result(None)
            self._empty.clear()

    def interrupt(self, reason: str) -> None:
        """Interrupt all of them, and those to come."""
        self._interrupted = reason
        for live_pass in list(self._passes):
            live_pass.interrupt(reason)

    def of(self, run_id: str) -> list[LivePass]:
        """Return those of one run: one that has lost it may still be ending."""
        return [live_pass for live_pass in self._passes if live_pass.claim.run.id == run_id]

    def __iter__(self) -> Iterator[LivePass]:
        return iter(list(self._passes))

    def let_go(self, reason: str) -> None:
        """Let all of them leave their handlers; later ones are not concerned."""
        for live_pass in list(self._passes):
            live_pass.let_go(reason)

    async def empty(self) -> None:
        """Wait until none is left."""
        while self._passes:
            future = asyncio.get_running_loop().create_future()
            self._empty.append(future)
            await future
