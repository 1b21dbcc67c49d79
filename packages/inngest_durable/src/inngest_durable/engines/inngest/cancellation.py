"""Cancels runs on the server, and the runs that they have invoked."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Raw

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
    Cancel a run and those that it waits for, each before those that it waits for itself; False if it has ended.

    Raises:
        RunNotFoundError: There is no such run.
    """
    run = await api.run(run_id)
    found = await api.actions(run_id)
    if run is None and found is None:
        raise RunNotFoundError(f"there is no run {run_id}")
    if found is None:
        return False
    family = [(run_id, found)]
    # It grows meanwhile.
    for member_id, actions in family:
        await api.cancel(member_id)
        followed.note(CancelRun(member_id, clock.now()))
        children = [(child_id, await api.actions(child_id)) for child_id in _children(member_id, actions)]
        family += [(child_id, of_child) for child_id, of_child in children if of_child is not None]
    return True


def _children(run_id: str, actions: dict[str, Raw]) -> Iterator[str]:
    """Yield the runs that a run waits for, as what the server has stored of it says."""
    state = state_of(actions)
    if state.request is None:
        return
    for memo in state.memos:
        if memo.op is StepOp.INVOKE and not memo.is_final and memo.key not in state.arrived:
            yield child_id_of(run_id, state.request.created_at, memo.key)
