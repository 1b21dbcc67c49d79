"""How a pass leaves its run: it waits, is due again at once, or has ended."""

from __future__ import annotations

import logging
from typing import Protocol

from ..._core.model import Failure, Finish, Park, Run
from ..base import FencedError
from ..records import FinishRun, ParkRun
from . import answers
from .checkpoints import Checkpoints
from .delivery import UNDELIVERED
from .follow import Followed
from .op_ids import now_id
from .ops import discovery, run_complete
from .outcome import Finished, Outcome, Parked
from .plan import plan
from .records import due_op, over_op
from .waits import Waits

logger = logging.getLogger("inngest_durable")


class Parted(Protocol):
    """What a parting needs of the claim that it belongs to."""

    run: Run
    waits: Waits
    checkpoints: Checkpoints

    def now(self) -> float:
        """Return the current time in seconds since the epoch."""

    async def ready(self) -> None:
        """Wait until the run is accepted. Raises `FencedError` if it could not be."""

    def settled(self, outcome: Outcome) -> None:
        """Note how the pass has ended."""


class Parting:
    """
    The end of one pass.

    What cannot be told to the server is not lost: the lease of a first pass brings the run back, and the request that
    has started a later one is repeated.

    Args:
        claim: The claim of the pass.
        followed: Gets notice of what happens in runs.
        is_first: Whether no request of the server waits for its outcome.
    """

    def __init__(self, claim: Parted, followed: Followed, is_first: bool) -> None:
        self._claim = claim
        self._followed = followed
        self._is_first = is_first

    @property
    def _has_no_dispatch(self) -> bool:
        return self._is_first or self._claim.checkpoints.revived

    async def park(self, park: Park, why: str, failure: Failure | None) -> None:
        """Let the run wait; resolves when the server knows that. Raises `FencedError`."""
        try:
            await self._claim.ready()
            self._claim.settled(await self._park(park, why, failure))
        except UNDELIVERED as error:
            logger.warning("the run could not be put to wait; it is entered again: %s [run=%s]", error, self._run_id)
            self._claim.settled(None)
        except FencedError:
            self._claim.settled(None)
            raise

    async def _park(self, park: Park, why: str, failure: Failure | None) -> Outcome:
        claim, epoch, now = self._claim, self._claim.run.epoch, self._claim.now()
        before = await claim.checkpoints.look() or {}
        if claim.waits.has_unseen(before):
            park = Park(now, park.attempt, park.quiet_seconds)
        over = over_op(epoch, park, why, failure, claim.waits.all_come(before))
        found = await claim.checkpoints.record(over)
        self._followed.note(ParkRun(claim.run.id, epoch, park, now, why, failure))
        is_due = park.wake_at <= now or claim.waits.has_come_since(before, found)
        ops = plan(epoch, park.wake_at, claim.waits, found, now)
        if is_due or (self._has_no_dispatch and len(ops) > 1):
            # Several at once are the server's to plan: it takes a plan from the answer to a request of its own.
            await claim.checkpoints.post(discovery(now_id(epoch)))
        elif self._has_no_dispatch:
            await claim.checkpoints.post(ops[0])
        return None if self._has_no_dispatch else Parked(tuple(ops))

    async def wake(self, quiet_seconds: float) -> None:
        """Make the run due at once, unless a later pass has begun."""
        checkpoints, epoch = self._claim.checkpoints, self._claim.run.epoch
        try:
            await checkpoints.record(due_op(epoch, self._claim.now(), quiet_seconds))
            await checkpoints.post(discovery(f"{now_id(epoch)}:due"))
        except FencedError:
            return
        except UNDELIVERED as error:
            logger.warning("a branch of the run goes on with its next pass: %s [run=%s]", error, self._run_id)

    async def finish(self, finish: Finish) -> None:
        """End the run; resolves when the server knows that, or is about to be told. Raises `FencedError`."""
        claim, run = self._claim, self._claim.run
        try:
            if self._has_no_dispatch:
                await claim.ready()
                await claim.checkpoints.post(run_complete(answers.completion(finish, run.idempotency)))
            else:
                # A pass that has lost its run has no say in how it ends.
                await claim.checkpoints.look()
        except UNDELIVERED as error:
            logger.warning("the run's end could not be told; it is entered again: %s [run=%s]", error, self._run_id)
            claim.settled(None)
            return
        except FencedError:
            claim.settled(None)
            raise
        self._followed.note(FinishRun(run.id, run.epoch, finish, claim.now()))
        claim.settled(Finished(finish))

    @property
    def _run_id(self) -> str:
        return self._claim.run.id
