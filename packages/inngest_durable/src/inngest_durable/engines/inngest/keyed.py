"""Runs with an ``Idempotency-Key``: the key makes the ID of the run, so that the server can be asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from ..._core.model import Idempotency, RecordedRequest, Run
from ..base import Clock
from ..ulids import ulid_of
from .answers import kept_result
from .api import InngestApi
from .checkpoints import STATUS_SECONDS, Checkpoints
from .creations import Creations
from .ends import end_of
from .follow import Followed
from .op_ids import REQUEST_RECORD_ID
from .ops import Op, step_hash
from .plan import lease
from .state import RunState, state_of

# A ULID begins with a time, which the server wants to be about now: keys are good for one such time and the next.
PERIOD_SECONDS = 7 * 86400.0


class KeyedOwner(Protocol):
    """What looking up runs needs of the engine."""

    api: InngestApi
    creations: Creations
    clock: Clock
    followed: Followed
    app_id: str

    def token(self, run_id: str) -> str:
        """Return the token of a run, or an empty string."""


def keyed_run_id(app_id: str, scope: str, key: str, now: float) -> str:
    """Return the ID of the run of an idempotency scope and key that is accepted *now*, in seconds since the epoch."""
    return ulid_of(now - now % PERIOD_SECONDS, sha256("\0".join((app_id, scope, key)).encode()).digest())


async def find(engine: KeyedOwner, scope: str, key: str) -> Run | None:
    """Return the run that was accepted with this idempotency scope and key, in this period or the one before."""
    now = engine.clock.now()
    for moment in (now, now - PERIOD_SECONDS):
        found = await _run(engine, keyed_run_id(engine.app_id, scope, key, moment), scope, key)
        if found is not None:
            return found
    return None


async def _run(engine: KeyedOwner, run_id: str, scope: str, key: str) -> Run | None:
    if (found := await engine.api.actions(run_id)) is not None:
        state, event = state_of(found), await engine.api.batch(run_id)
        run = None if event is None else state.run(run_id, engine.app_id, event.body)
        if run is not None:
            await _look_after(engine, run, state, found)
            return run
    ended = await engine.api.run(run_id)
    if ended is not None and ended.status == "Running":
        # A run that has just ended looks like that too, for a moment.
        await asyncio.sleep(STATUS_SECONDS)
        ended = await engine.api.run(run_id)
    if ended is None or ended.status == "Running":
        return None
    finish = await end_of(engine.api, run_id)
    kept = None if ended.output is None else kept_result(ended.output)[0]
    digest = "" if kept is None else kept.digest
    same = Idempotency(scope, key, digest)
    return Run(run_id, engine.app_id, "", _NO_REQUEST, 0.0, finish.status, response=finish.response, idempotency=same)


async def _look_after(engine: KeyedOwner, run: Run, state: RunState, found: Mapping[str, Raw]) -> None:
    """Get the token of a run that goes on, and bring it back if its process has died before it left a lease."""
    create = partial(engine.creations.create, run, _again(found[step_hash(REQUEST_RECORD_ID)]))
    now = engine.clock.now()
    if not engine.token(run.id):
        # Created by another process: the server gives the token to a process that creates it once more.
        await create()
    if state.park is None and state.held_until(now) is None:
        await Checkpoints(engine, run.id, run.epoch, create).post(lease(run.epoch, now, found, now))


def _again(stored: Raw) -> Op:
    data = msgspec.json.decode(stored, type=_Stored).data
    return Op("StepRun", step_hash(REQUEST_RECORD_ID), "request", "request", {"id": REQUEST_RECORD_ID}, data=data)


class _Stored(Struct):
    data: Raw


_NO_REQUEST = RecordedRequest("GET", "http", "", "/", b"/", b"", (), None, None, "1.1", b"")
