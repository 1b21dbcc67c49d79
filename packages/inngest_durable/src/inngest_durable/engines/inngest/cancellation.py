"""Cancels runs on the server, and the runs that they have invoked."""

from __future__ import annotations

from ..._core.model import StepOp
from ...errors import RunNotFoundError
from ..base import Clock
from ..records import CancelRun
from .api import InngestApi
from .follow import Followed
from .state import state_of
from .waits import child_id_of


async def cancel(api: InngestApi, followed: Followed, clock: Clock, run_id: str) -> bool:
    """
    Cancel a run and those that it waits for; False if it has ended.

    Raises:
        RunNotFoundError: There is no such run.
    """
    run = await api.run(run_id)
    found = await api.actions(run_id)
    if run is None and found is None:
        raise RunNotFoundError(f"there is no run {run_id}")
    if found is None:
        return False
    await api.cancel(run_id)
    followed.note(CancelRun(run_id, clock.now()))
    state = state_of(found)
    if state.request is None:
        return True
    for memo in state.memos:
        if memo.op is StepOp.INVOKE and not memo.is_final and memo.key not in state.arrived:
            child = child_id_of(run_id, state.request.created_at, memo.key)
            if await api.actions(child) is not None:
                await cancel(api, followed, clock, child)
    return True
