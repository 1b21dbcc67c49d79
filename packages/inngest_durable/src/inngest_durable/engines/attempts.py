"""
Attempts of steps that execute in this process, as run events report them.

A quick attempt is reported when it ends. A longer one gets an event for its start, written a little later: no commit
is made for it alone while others are on their way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec import Struct

from .._core.model import Run
from .._core.run_events import (
    MOST_PROGRESS,
    STARTED_AFTER_SECONDS,
    STEP_PROGRESS,
    STEP_STARTED,
    AttemptData,
    encoded,
    progress_data,
)

logger = logging.getLogger("inngest_durable")


class Attempt(Struct, gc=False):
    """
    One attempt of a step, while it executes.

    Attributes:
        number: 1-based.
        at: When it began, in seconds since the epoch.
        told: Whether its start was reported.
        progress: How often it has reported how far it is.
    """

    number: int
    at: float
    told: bool = False
    progress: int = 0


class Telling(Protocol):
    """A claim, as far as reports on its attempts need it."""

    run: Run
    attempts: dict[str, Attempt]

    def tell(self, kind: str, data: str, at: float) -> None:
        """Let a run event be written soon."""


def tell_start(claim: Telling, key: str, attempt: Attempt) -> None:
    """Report that an attempt has begun, unless that has been reported."""
    if not attempt.told:
        attempt.told = True
        claim.tell(STEP_STARTED, encoded(AttemptData(key, attempt.number)), attempt.at)


def tell_progress(claim: Telling, key: str, text: str, data: str, at: float) -> None:
    """Report how far the executing attempt of a step is. Reports over the limit are dropped, which is noted once."""
    attempt = claim.attempts.get(key)
    if attempt is None or attempt.progress > MOST_PROGRESS:
        return
    tell_start(claim, key, attempt)
    attempt.progress += 1
    if attempt.progress > MOST_PROGRESS:
        text, data = f"(more than {MOST_PROGRESS} lines of progress: the rest is not recorded)", ""
        logger.warning(
            "step %r told its progress more than %d times; the rest is not recorded [run=%s]",
            key,
            MOST_PROGRESS,
            claim.run.id,
        )
    claim.tell(STEP_PROGRESS, progress_data(key, attempt.number, text, data), at)


class Starts:
    """
    Reports the starts of attempts that are not over after a moment. One timer for all, on one event loop.

    Args:
        claims: Returns the claims of the passes that run in this process.
        now: Returns the time in seconds since the epoch.

    Attributes:
        ticks: Whether the timer runs: attempts are looked at some time.
    """

    def __init__(self, claims: Callable[[], Iterable[Telling]], now: Callable[[], float]) -> None:
        self.ticks = False
        self._claims = claims
        self._now = now
        self._loop = asyncio.get_running_loop()

    def tick(self) -> None:
        """Look at the attempts in a moment."""
        self.ticks = True
        self._loop.call_later(STARTED_AFTER_SECONDS, self._look)

    def _look(self) -> None:
        self.ticks = False
        before, untold = self._now() - STARTED_AFTER_SECONDS, False
        for claim in self._claims():
            for key, attempt in claim.attempts.items():
                if attempt.told:
                    continue
                if attempt.at > before:
                    untold = True
                else:
                    tell_start(claim, key, attempt)
        if untold:
            self.tick()
