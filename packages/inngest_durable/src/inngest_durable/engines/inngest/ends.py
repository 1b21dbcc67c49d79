"""How runs have ended, as the server reports it: of its own tables, one may know before the other."""

from __future__ import annotations

import asyncio

from ..._core.model import Finish, RunStatus
from .answers import finish_of
from .api import InngestApi, UnreachableError

# The server reports a run from a cache of three seconds, and its answer a little later than its end.
_LOOKS = 12
_PAUSE_SECONDS = 0.5


async def end_of(api: InngestApi, run_id: str) -> Finish:
    """Return how a run has ended that the server says has ended. Raises `UnreachableError` if it does not say."""
    finish: Finish | None = None
    for _ in range(_LOOKS):
        found = await api.run(run_id)
        finish = None if found is None else finish_of(found.status, found.output)
        if finish is not None and (finish.status is RunStatus.CANCELLED or finish.response or finish.failure):
            return finish
        await asyncio.sleep(_PAUSE_SECONDS)
    if finish is None:
        raise UnreachableError(f"the server says that run {run_id} has ended, and then that it has not")
    # Ended by something other than this package: there is no answer.
    return finish
