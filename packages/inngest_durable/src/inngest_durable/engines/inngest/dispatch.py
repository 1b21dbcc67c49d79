"""
Answers the requests by which the server starts a later pass of a run.

What the request says is checked against what the server keeps of the run, and nothing else of it reaches the handler:
the pass is made within this process, with the request that was recorded.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

from msgspec import Raw
from msgspec.structs import replace

from ..._core.model import RecordedRequest, RecordedResponse, Run, RunStatus
from ..._core.run_flow import killed_its_workers
from ..base import Host
from ..records import ClaimRun, FinishRun, RecoverRun, SaveMemo
from . import answers
from .api import RefusedError, UnreachableError
from .claim import InngestClaim
from .outcome import Finished, Parked
from .owner import ClaimOwner
from .plan import lease, plan
from .protocol import HttpRequestEvent, is_run_id
from .records import pass_op
from .requests import target_of
from .settings import Settings
from .signing import is_signed
from .state import RunState, state_of
from .waits import Waits

logger = logging.getLogger("inngest_durable")

# As long as a signature is valid, in both directions; and no more than this many.
_REMEMBERED_SECONDS = 600.0
_MOST_REMEMBERED = 100_000
# A run is entered a moment early rather than put to sleep once more.
_EARLY_SECONDS = 0.05


class DispatchOwner(ClaimOwner, Protocol):
    """
    What dispatches need of the engine.

    Attributes:
        settings: Which server, and by which keys.
        app_id: The application.
        max_recoveries: Passes of a run that may die one after another.
    """

    settings: Settings
    app_id: str
    max_recoveries: int

    @property
    def drains(self) -> bool:
        """Whether no pass may begin any more."""

    def live(self, run_id: str) -> InngestClaim | None:
        """Return the claim of the pass of a run that lives in this process."""


class Dispatches:
    """
    The server's requests to one application.

    Args:
        engine: The engine.
        host: The application, which a pass runs through.
        at_once: How many passes may run at once; further ones wait.
    """

    def __init__(self, engine: DispatchOwner, host: Host, at_once: int) -> None:
        self._engine = engine
        self._host = host
        self._slots = asyncio.Semaphore(at_once)
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._let_go: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def answer(self, request: RecordedRequest) -> RecordedResponse:
        """Return the answer to *request*, after the pass that it starts, if it does, or when all are let go."""
        # In a task of its own: the server may go away, and the pass goes on.
        answering = self._engine.spawn(self._served(request))
        await asyncio.wait((answering, self._let_go), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            return answers.refused_answer(503, "the process stops")
        try:
            return answering.result()
        except Exception:
            logger.exception("a dispatch failed: please report this bug [run=%s]", request.header(b"x-run-id"))
            return answers.refused_answer(500, "the dispatch failed; the application's log says why")

    def let_go(self) -> None:
        """Have the server repeat its requests. The passes that they have started go on, and say how they end."""
        if not self._let_go.done():
            self._let_go.set_result(None)

    async def _served(self, request: RecordedRequest) -> RecordedResponse:
        if (refused := self._refused(request)) is not None:
            return refused
        run_id = request.header(b"x-run-id") or ""
        try:
            return await self._answer(request, run_id)
        except UnreachableError as error:
            logger.warning("a dispatch is left to be repeated: %s [run=%s]", error, run_id)
            return answers.refused_answer(503, "the server could not be asked for the state of the run")
        except RefusedError as error:
            logger.error("a dispatch cannot be served: %s [run=%s]", error, run_id)
            return answers.refused_answer(503, "the server has refused to tell the state of the run")

    def _refused(self, request: RecordedRequest) -> RecordedResponse | None:
        """Return the answer to what did not come from the server; None if it did."""
        settings, now = self._engine.settings, self._engine.clock.now()
        signature = request.header(b"x-inngest-signature") or ""
        if not settings.is_dev and not is_signed(request.body, signature, settings.signing_keys, now):
            logger.warning("a dispatch was refused: its signature is missing, stale, or made with another key")
            return answers.refused_answer(401, "the signature is missing, stale, or made with another key")
        if not is_run_id(request.header(b"x-run-id") or "") or not request.header(b"x-request-id"):
            return answers.refused_answer(400, "a dispatch has the ID of a run, and one of its own")
        return answers.refused_answer(503, "the process stops") if self._engine.drains else None

    async def _answer(self, request: RecordedRequest, run_id: str) -> RecordedResponse:
        api, now = self._engine.api, self._engine.clock.now()
        found, event = await asyncio.gather(api.actions(run_id), api.batch(run_id))
        if found is None or event is None:
            return answers.refused_answer(410, "the run has ended, or the server has lost it", is_final=True)
        state = state_of(found)
        if state.request is None or (event.method, event.path) != target_of(request):
            logger.warning("a dispatch was refused: the run belongs to another endpoint [run=%s]", run_id)
            return answers.refused_answer(403, "the run belongs to another endpoint")
        request_id = request.header(b"x-request-id") or ""
        if run_id in self._engine.withdrawn:
            return answers.refused_answer(503, "the run was not accepted, and is being cancelled")
        is_live = self._engine.live(run_id) is not None
        if self._is_repeated(request_id, state) or is_live or state.held_until(now) is not None:
            return await self._held(run_id, state, found)
        return await self._enter(run_id, request_id, state, found, event)

    def _is_repeated(self, request_id: str, state: RunState) -> bool:
        """Whether this very request has started a pass before, of this process or of another one."""
        now = self._engine.clock.now()
        while self._seen and (len(self._seen) > _MOST_REMEMBERED or next(iter(self._seen.values())) < now):
            self._seen.popitem(last=False)
        if request_id in self._seen or any(one.request_id == request_id for one in state.passes):
            return True
        self._seen[request_id] = now + _REMEMBERED_SECONDS
        return False

    async def _held(self, run_id: str, state: RunState, found: Mapping[str, Raw]) -> RecordedResponse:
        """Answer if another pass has the run: it is looked after when that pass should have ended."""
        if (live := self._engine.live(run_id)) is not None:
            await live.hear(found)
        newest = state.passes[-1]
        return answers.ops_answer([lease(newest.n, newest.until, found, self._engine.clock.now())])

    async def _enter(
        self, run_id: str, request_id: str, state: RunState, found: Mapping[str, Raw], event: HttpRequestEvent
    ) -> RecordedResponse:
        engine, now = self._engine, self._engine.clock.now()
        over = state.over
        waits = Waits(
            [(memo, state.waits[memo.key]) for memo in state.memos if memo.key in state.waits],
            () if over is None else over.seen,
        )
        park = state.park
        if park is not None and park.wake_at > now + _EARLY_SECONDS and not waits.has_unseen(found):
            return answers.ops_answer(plan(state.passes[-1].n, park.wake_at, waits, found, now))
        run = state.run(run_id, engine.app_id, event.body)
        if run is None:
            raise AssertionError("a run without a beginning is not entered")
        engine.followed.adopt(run, state)
        if state.deaths > engine.max_recoveries:
            finish = killed_its_workers(run_id, state.deaths)
            logger.error("%d passes died one after another; the run is failed [run=%s]", state.deaths, run_id)
            engine.followed.note(FinishRun(run_id, run.epoch, finish, now))
            return answers.finished_answer(finish, run.idempotency)
        async with self._slots:
            return await self._pass(run, request_id, state, waits)

    async def _pass(self, before: Run, request_id: str, state: RunState, waits: Waits) -> RecordedResponse:
        """Run one pass, if no other one has begun at the same time."""
        engine, now = self._engine, self._engine.clock.now()
        nonce, epoch = secrets.token_hex(8), before.epoch + 1
        run = replace(before, status=RunStatus.RUNNING, epoch=epoch, owner=engine.worker_id, wake_at=None)
        claim = InngestClaim(engine, run, waits, state.own, nonce)
        claimed = pass_op(epoch, nonce, now + engine.lease_seconds, now, request_id, engine.worker_id)
        found = await claim.begin(claimed)
        if found is None:
            found = await engine.api.actions(run.id) or {}
            newest = state_of(found).newest_pass
            until = now if newest is None else newest.until
            return answers.ops_answer([lease(epoch, until, found, now)])
        claim.memos = await waits.journal(claim, state.memos, found)
        memoized = tuple(memo.key for memo in claim.memos if memo.is_final)
        before_come = {memo.key for memo in state.memos if memo.is_final}
        for memo in claim.memos:
            if memo.is_final and memo.key not in before_come:
                engine.followed.note(SaveMemo(run.id, before.epoch, memo, at=now))
        dead = state.newest_pass if state.over is None else None
        if dead is not None and dead.worker:
            engine.followed.note(RecoverRun(run.id, before.epoch, now, dead.worker))
        engine.followed.note(ClaimRun(run.id, before.epoch, engine.worker_id, now, memoized))
        try:
            await self._host.reenter(claim)
            outcome = await claim.outcome
        finally:
            claim.settled(None)
        if isinstance(outcome, Parked):
            return answers.ops_answer(outcome.ops)
        if isinstance(outcome, Finished):
            return answers.finished_answer(outcome.finish, run.idempotency)
        if claim.checkpoints.revived:
            return answers.ops_answer([])
        return answers.refused_answer(503, "the pass has lost its run, or could not say how it ended")
