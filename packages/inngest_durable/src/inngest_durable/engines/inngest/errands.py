"""What a pass does on the server besides recording memos, however long the server cannot be reached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

from msgspec import Raw
from msgspec.structs import replace

from ..._core.effects import SendEvents
from ..._core.model import Finish, Run
from ..._pass import CANCELLED
from ..base import FencedError
from ..records import Insert
from .checkpoints import CancelledOnServerError, Checkpoints
from .delivery import persistently, refusals
from .ends import end_of
from .op_ids import now_id
from .ops import Op, discovery
from .owner import ClaimOwner
from .records import request_op

T = TypeVar("T")


class Errands:
    """
    What one pass does on the server.

    Args:
        owner: The engine.
        run: The run.
        checkpoints: Its records.
    """

    def __init__(self, owner: ClaimOwner, run: Run, checkpoints: Checkpoints) -> None:
        self.run = run
        self._owner = owner
        self._checkpoints = checkpoints

    def now(self) -> float:
        """Return the current time in seconds since the epoch."""
        return self._owner.clock.now()

    async def deliver(self, deliver: Callable[[], Awaitable[T]], *, gives_up: bool = False) -> T:
        """
        Return what *deliver* does as soon as it can be delivered. Raises `FencedError`.

        If it *gives_up*, it raises `RefusedError` when the server takes other things, but not this.
        """
        try:
            return await persistently(deliver, self._owner.health, self.run.id, gives_up=gives_up)
        except CancelledOnServerError:
            self._owner.interrupt(self.run.id, CANCELLED)
            raise

    async def post(self, op: Op) -> None:
        """Post an operation that leaves no record of its own, however long that takes."""
        await self.deliver(lambda: self._checkpoints.post(op))

    async def is_refused(self, op: Op) -> bool:
        """Whether the server has surely not begun a wait that was posted."""
        return await self.deliver(lambda: self._checkpoints.is_refused(op))

    async def look(self) -> Mapping[str, Raw]:
        """Return what is stored of the run now. Raises `FencedError`."""
        return await self.deliver(self._checkpoints.look) or {}

    async def send_events(self, along: SendEvents) -> None:
        """Send events, however long that takes."""
        with refusals(self.run.id):
            await self.deliver(lambda: self._owner.api.send_events(along.events), gives_up=True)

    async def send_signal(self, name: str, data: Raw) -> bool:
        """Send a signal, however long that takes; return whether a step waited for it."""
        with refusals(self.run.id):
            return await self.deliver(lambda: self._owner.api.send_signal(name, data), gives_up=True)

    async def begin_child(self, child: Run) -> None:
        """Let a child run begin, unless it has begun before."""
        await self.deliver(lambda: self._begin_child(child))

    async def _begin_child(self, child: Run) -> None:
        owner, known = self._owner, await self._owner.api.run(child.id)
        if known is not None and known.status != "Running":
            return
        # No pass holds it: its first one is started by the server.
        first = request_op(replace(child, request=owner.creations.kept(child.request)), "", 0.0, parent=self.run.id)
        create = partial(owner.creations.create, child, first)
        owner.followed.note(Insert(child))
        begun = Checkpoints(owner, child.id, child.epoch, create)
        with suppress(FencedError):
            # It has begun before if it is fenced.
            await begun.record(first)
            await begun.schedule(discovery(now_id(child.epoch)))

    async def end_of(self, run_id: str) -> Finish:
        """Return how a run has ended that the server says has ended."""
        return await self.deliver(lambda: end_of(self._owner.api, run_id))
