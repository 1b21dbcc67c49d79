"""
Posts what a pass records, and makes sure that the server has it: an answer of 200 does not prove that.

A record is posted alone, and looked for among the run's records. One that another pass has posted first, or the record
of a later pass, shows that this one has lost its run.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from ..._core.model import RunStatus
from ..base import Clock, FencedError
from .api import InngestApi, UnreachableError
from .follow import Followed
from .op_ids import pass_id
from .ops import Op, step_hash
from .protocol import Created, checkpoint_body
from .records import Record, op_id_of

logger = logging.getLogger("inngest_durable")

# How often something that was taken and not kept is posted again before that counts as an outage.
_TRIES = 6
# The server lists so many jobs, as it calls what it has scheduled for a run; some servers tell by their details what
# they are about.
_MOST_JOBS = 10
_DETAILS = b'"Raw"'
# The server tells a run's status from a cache of this age.
STATUS_SECONDS = 3.5
_CANCELLED = "Cancelled"
_ENDED = frozenset(("Completed", "Failed", _CANCELLED))

Found = Mapping[str, Raw]


class CancelledOnServerError(FencedError):
    """The run was cancelled on the server."""


class Server(Protocol):
    """
    The server, and what this process knows of its runs.

    Attributes:
        api: The server.
        followed: Knows which runs were cancelled here.
    """

    api: InngestApi
    clock: Clock
    followed: Followed


class Checkpoints:
    """
    The records of one run, as one pass posts them.

    Args:
        server: The server, and what this process knows of its runs.
        run_id: The run.
        epoch: The pass.
        create: Creates the run on the server, or finds it there; returns its IDs.
        known: Records of earlier passes, by their hash.
        created: The run's IDs on the server, if they are known.

    Attributes:
        revived: Whether the server had lost the run, and was given it again.
        first: What the run was created with: the server may take that too, and not keep it.
    """

    def __init__(
        self,
        server: Server,
        run_id: str,
        epoch: int,
        create: Callable[[], Awaitable[Created]],
        known: Found | None = None,
        created: Created | None = None,
    ) -> None:
        self.revived = False
        self.first: Op | None = None
        self._server = server
        self.run_id = run_id
        self._epoch = epoch
        self._create = create
        self._later = step_hash(pass_id(epoch + 1))
        self._records = {found: _restored(found, stored) for found, stored in (known or {}).items()}
        self._created = created
        self._creating: asyncio.Task[Created] | None = None
        self._reading: asyncio.Task[Found | None] | None = None
        self._next: asyncio.Task[Found | None] | None = None

    async def created(self) -> Created:
        """Return the run's IDs on the server; the run is created there if need be. Raises `UnreachableError`."""
        if self._created is None:
            if self._creating is None:
                self._creating = asyncio.ensure_future(self._create())
            try:
                self._created = await asyncio.shield(self._creating)
            finally:
                self._creating = None
        return self._created

    async def post(self, op: Op) -> None:
        """Post an operation that leaves no record of its own. Raises `UnreachableError`."""
        created = await self.created()
        body = checkpoint_body(self.run_id, created.fn_id, created.app_id, [op], self._milliseconds())
        await self._server.api.checkpoint(self.run_id, body)

    async def schedule(self, op: Op) -> None:
        """Post an operation until the server has something scheduled for the run. Raises `UnreachableError`."""
        for attempt in range(1, _TRIES + 1):
            await self.post(op)
            if await self._server.api.jobs(self.run_id):
                return
            found = await self._server.api.actions(self.run_id)
            if found is None or self._later in found:
                # What was scheduled has been done by now.
                return
            await _pause(attempt)
        raise UnreachableError(f"the server has taken {op.displayName!r} {_TRIES} times and has scheduled nothing")

    async def is_refused(self, op: Op) -> bool:
        """Whether the server has surely not begun a wait that was posted; it says so of few waits at a time."""
        jobs = await self._server.api.jobs(self.run_id)
        told = [job for job in jobs if _DETAILS in job]
        if not told or len(jobs) >= _MOST_JOBS or any(op.id.encode() in job for job in told):
            return False
        found = await self.look()
        return found is not None and op.id not in found

    async def record(self, op: Op) -> Found:
        """
        Post a record until the server has it; return all that is stored of the run.

        Raises:
            FencedError: Another pass has recorded the same before, or owns the run now, or the run has ended.
            UnreachableError: The server cannot be reached, or does not store it.
        """
        self._records[op.id] = op
        for attempt in count(1):
            await self.post(op)
            if (found := await self.look()) is None:
                await self._revive()
                continue
            if self.first is not None and self.first.id not in found:
                await self.post(self.first)
            elif op.id in found:
                if _stamp(found[op.id]).by not in (None, self._epoch):
                    raise FencedError
                return found
            if attempt == _TRIES:
                raise UnreachableError(f"the server has taken {op.displayName!r} {_TRIES} times and has not stored it")
            await _pause(attempt)
        raise AssertionError("count() ended")  # pragma: no cover

    async def claim(self, op: Op, nonce: str) -> Found | None:
        """Post the record of a pass; return all that is stored of the run, or None if another one was first."""
        try:
            found = await self.record(op)
        except FencedError:
            return None
        return found if _stamp(found[op.id]).nonce == nonce else None

    async def look(self) -> Found | None:
        """
        Return what is stored of the run now, or None if the server has nothing; one request for several callers.

        Raises:
            FencedError: A later pass owns the run.
            UnreachableError: The server cannot be reached.
        """
        if self._next is None:
            # One that is under way may have begun before what the caller has posted.
            self._next = asyncio.create_task(self._read_after(self._reading))
        found = await asyncio.shield(self._next)
        if found is not None and self._later in found:
            raise FencedError
        return found

    async def _read_after(self, before: asyncio.Task[Found | None] | None) -> Found | None:
        if before is not None:
            await asyncio.wait((before,))
        else:
            # Where tasks begin at once, this one is not yet known as the next.
            await asyncio.sleep(0)
        self._reading, self._next = self._next, None
        return await self._server.api.actions(self.run_id)

    async def _revive(self) -> None:
        """
        Give the server a run that it has lost, as one without a disk does when it restarts: this process has it.

        Raises `FencedError` if the run has ended.
        """
        if self._server.followed.status(self.run_id) is RunStatus.CANCELLED:
            raise CancelledOnServerError
        status = await self._status()
        if status not in _ENDED:
            # A run that has just ended looks like that too, for a moment.
            await asyncio.sleep(STATUS_SECONDS)
            status = await self._status()
        if status == _CANCELLED:
            raise CancelledOnServerError
        if status in _ENDED:
            raise FencedError
        if await self.look() is not None:
            return
        logger.warning("the Inngest server has lost the run, which goes on: it is recorded again [run=%s]", self.run_id)
        self.revived = True
        self._created = None
        for op in list(self._records.values()):
            await self.post(op)

    async def _status(self) -> str | None:
        run = await self._server.api.run(self.run_id)
        return None if run is None else run.status

    def _milliseconds(self) -> int:
        return int(self._server.clock.now() * 1000)


async def _pause(attempt: int) -> None:
    await asyncio.sleep(0.05 * 2**attempt * (1 + random.random()))


class _Stamp(Struct, frozen=True):
    """Which pass has made a record, as far as it says so."""

    by: int | None = msgspec.field(name="pass", default=None)
    nonce: str = ""


class _Stored(Struct, frozen=True):
    data: _Stamp = _Stamp()


class _Data(Struct, frozen=True):
    data: Raw


def _stamp(stored: Raw) -> _Stamp:
    return msgspec.json.decode(stored, type=_Stored).data


def _restored(found: str, stored: Raw) -> Op:
    data = msgspec.json.decode(stored, type=_Data).data
    op_id = op_id_of(msgspec.json.decode(data, type=Record))
    return Op("StepRun", found, op_id, op_id, {"id": op_id}, data=data)
