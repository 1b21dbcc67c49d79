"""
A process that runs the passes of one run, and the disk that outlives it.

The steps, the pass and the decisions are the real ones; what lies under them (an engine and a store) is these few
lines, so that a test can end the process before any single effect and look at what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from inngest_durable import RetryPolicy, RunInterrupt
from inngest_durable._core.effects import Along
from inngest_durable._core.matching import WaitFor
from inngest_durable._core.model import (
    Failure,
    Finish,
    Memo,
    Park,
    RecordedRequest,
    RecordedResponse,
    Run,
    RunStatus,
    StepState,
)
from inngest_durable._core.run_flow import after_error, after_interrupt
from inngest_durable._core.step_flow import failure_of
from inngest_durable._pass import PassKind
from inngest_durable._task_pass import TaskPass
from inngest_durable.engines.base import Clock, FencedError, TimerHandle
from inngest_durable.testing import Crash, CrashPoint
from msgspec.structs import replace

T = TypeVar("T")
Handler = Callable[[], Awaitable[Any]]

RUN_ID = "01JX5Z0000000000000000000R"
REQUEST = RecordedRequest("GET", "http", "", "/trip", b"/trip", b"", (), None, None, "1.1", b"")
# What a commit takes, and how long a new run's row may wait for one.
COMMIT_SECONDS = 0.001
ACCEPT_SECONDS = 0.005
# Pauses of 1, 2 and 4 seconds, without chance.
POLICY = RetryPolicy(jitter=False)


@dataclass
class Disk:
    """
    What survives a crash: one run and its journal.

    Attributes:
        came: Results of steps that wait for others, by what they wait for, which the test puts there.
    """

    run: Run | None = None
    memos: dict[str, Memo] = field(default_factory=dict)
    came: dict[str, bytes] = field(default_factory=dict)

    @property
    def the_run(self) -> Run:
        """The run, which must be there."""
        assert self.run is not None
        return self.run


class Death(CrashPoint):
    """A crash point that tells the event loop."""

    def __init__(self, before: int | None = None) -> None:
        super().__init__(before)
        self.happened = asyncio.Event()

    def pass_by(self) -> None:
        """Count one effect, or die before it."""
        try:
            super().pass_by()
        except Crash:
            self.happened.set()
            raise


class LoopClock:
    """The clock of the running loop, as seconds since some epoch."""

    def now(self) -> float:
        """Return the current time."""
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        """Call *callback* at *when*."""
        return asyncio.get_running_loop().call_at(when, callback)


class RunFailedError(Exception):
    """The run ended without a value. Its failure is the argument."""


class Process:
    """
    One life of a process: runs passes of the run on *disk*.

    Args:
        disk: Where its run is; by default it has none yet.
        death: When it dies. Each write and each park is an effect; wrap the step functions yourself.
        policy: Retries of the handler and of each step.
        clock: Its time.

    Attributes:
        current: The last pass.
        parks: What each pass that waits asked for.
        wakes: Quiet times that late refusals asked for.
        values: What each pass's handler returned, or the exception that left it.
        changed: Set whenever something was written.
    """

    def __init__(
        self,
        disk: Disk | None = None,
        death: Death | None = None,
        policy: RetryPolicy = POLICY,
        clock: Clock | None = None,
    ) -> None:
        self.disk = disk or Disk()
        self.death = death or Death()
        self.policy = policy
        self.clock: Clock = _DyingClock(clock or LoopClock(), self.death)
        self.current: TaskPass | None = None
        self.parks: list[Park] = []
        self.wakes: list[float] = []
        self.values: list[Any] = []
        self.changed = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()

    async def run_to_end(self, handler: Handler) -> Any:
        """
        Take the run from wherever it stands to its end, with as many passes as it needs; return its value.

        Raises:
            RunFailedError: It ended without one.
        """
        if self.disk.run is None:
            await self.request(handler)
        elif self.disk.run.status is RunStatus.RUNNING:
            # The process that ran it is dead.
            self.disk.run = _with(self.disk.run, status=RunStatus.WAITING, wake_at=self.clock.now())
        while not await self._over():
            await self.reenter(handler)
        run = self.disk.the_run
        if run.response is None:
            raise RunFailedError(run.failure)
        return msgspec.json.decode(run.response.body)

    async def request(self, handler: Handler) -> None:
        """Run the first pass, in a client's request."""
        run = Run(RUN_ID, "tests", "trip", REQUEST, self.clock.now())
        await self._run(DiskClaim(self, run, [], accepted=False), handler, "first")

    async def reenter(self, handler: Handler) -> None:
        """Run another pass, whether the run is due or not."""
        waiting = self.disk.the_run
        run = _with(waiting, status=RunStatus.RUNNING, epoch=waiting.epoch + 1, wake_at=None)
        self.disk.run = run
        await self._run(DiskClaim(self, run, list(self.disk.memos.values()), accepted=True), handler, "reentry")

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def settle(self) -> None:
        """Wait until nothing runs in the background."""
        while self._background:
            await asyncio.wait(self._background)

    async def _run(self, claim: DiskClaim, handler: Handler, kind: PassKind) -> None:
        """Do what an endpoint does, without a framework round it."""
        self.current = current = TaskPass(claim, self, self.policy, kind)
        error: BaseException | None = None
        value = None
        try:
            value = await current.run(handler)
            await current.idle()
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit, Crash):
            self.spawn(self._abandon(current))
            raise
        except BaseException as raised:
            error = raised
            await current.idle()
        self.values.append(value if error is None else error)
        await self._settle(claim, current, value, error)

    async def _settle(self, claim: DiskClaim, current: TaskPass, value: Any, error: BaseException | None) -> None:
        now = self.clock.now()
        if current.interrupted or isinstance(error, RunInterrupt):
            await self._park(current, claim, after_interrupt(claim.run, current.how_interrupted(error), now))
        elif error is None:
            response = RecordedResponse(200, (), msgspec.json.encode(value))
            await claim.finish(Finish(RunStatus.COMPLETED, response))
        else:
            if not isinstance(error, Exception):
                raise error
            following = after_error(claim.run, error, self.policy, now, 0.5)
            if isinstance(following, Park):
                await self._park(current, claim, following)
            else:
                await claim.finish(Finish(following, None, failure_of(error)))

    async def _abandon(self, current: TaskPass) -> None:
        await current.idle()
        claim = current.claim
        assert isinstance(claim, DiskClaim)
        await self._park(current, claim, Park(self.clock.now(), claim.run.attempt, claim.run.quiet_seconds))

    async def _park(self, current: TaskPass, claim: DiskClaim, park: Park) -> None:
        try:
            await claim.park(park)
        except FencedError:
            return
        current.parked_run()

    async def _over(self) -> bool:
        """Wait until the run has ended (True) or is due (False)."""
        while True:
            run, now = self.disk.the_run, self.clock.now()
            if run.status.is_final:
                return True
            due = run.wake_at if run.status is RunStatus.WAITING else None
            if due is not None and due <= now:
                return False
            self.changed.clear()
            waiting = asyncio.ensure_future(self.changed.wait())
            await asyncio.wait([waiting], timeout=None if due is None else max(due - now, 1e-6))
            waiting.cancel()


class DiskClaim:
    """The right of one pass to write to the run on a disk; refused as a database refuses it, by epoch and status."""

    def __init__(self, process: Process, run: Run, memos: Sequence[Memo], accepted: bool) -> None:
        self.run = run
        self.memos = memos
        self.accepted = accepted
        self.on_disk = accepted
        self._process = process

    async def accept(self) -> None:
        """Write the run's row."""
        await self._commit()

    def accept_soon(self) -> None:
        """Write the run's row in some milliseconds, unless a checkpoint takes it along first."""
        if not self.accepted:
            self.accepted = True
            asyncio.get_running_loop().call_later(ACCEPT_SECONDS, self._accept)

    def begin_attempt(self, key: str, attempt: int) -> None:
        """Take notice that an attempt begins: nobody is told of it here."""

    def look(self) -> None:
        """Do nothing: there is no other process."""

    def progress(self, key: str, text: str, data: str, at: float) -> None:
        """Take notice of progress: nobody is told of it here."""

    async def save(self, memo: Memo) -> None:
        """Checkpoint *memo*."""
        await self._commit()
        self._guarded(RunStatus.RUNNING)
        self._process.disk.memos[memo.key] = memo
        self._process.changed.set()

    async def save_with(self, memo: Memo, along: Along) -> Memo:
        """Checkpoint *memo*; what it waits for may be there already."""
        await self._commit()
        self._guarded(RunStatus.RUNNING)
        disk = self._process.disk
        if memo.key in disk.memos and disk.memos[memo.key].is_final:
            memo = disk.memos[memo.key]
        elif isinstance(along, WaitFor) and along.name in disk.came:
            memo = replace(memo, state=StepState.COMPLETED, attempt=1, result=disk.came[along.name], wake_at=None)
        disk.memos[memo.key] = memo
        self._process.changed.set()
        return memo

    def listen(self, key: str, tell: Callable[[Memo], object]) -> TimerHandle:
        """Listen in vain: nothing comes while a step is parked."""
        return asyncio.get_running_loop().call_soon(lambda: None)

    def seen(self, key: str) -> None:
        """Take notice of nothing."""

    def new_child(self, key: str, endpoint: str, request: RecordedRequest, timeout_seconds: float | None) -> Run:
        """Make no child."""
        raise NotImplementedError

    async def park(self, park: Park, why: str = "", failure: Failure | None = None) -> None:
        """Let the run wait."""
        await self._commit()
        run = self._guarded(RunStatus.RUNNING)
        self._process.parks.append(park)
        waiting = _with(run, status=RunStatus.WAITING, wake_at=park.wake_at)
        self._put(_with(waiting, attempt=park.attempt, quiet_seconds=park.quiet_seconds))

    async def wake(self, quiet_seconds: float) -> None:
        """Make the run due at once, unless a later pass has begun."""
        await self._commit()
        try:
            run = self._guarded(RunStatus.WAITING)
        except FencedError:
            return
        self._process.wakes.append(quiet_seconds)
        self._put(_with(run, wake_at=self._process.clock.now(), quiet_seconds=quiet_seconds))

    async def finish(self, finish: Finish) -> None:
        """End the run."""
        await self._commit()
        run = self._guarded(RunStatus.RUNNING)
        self._put(_with(run, status=finish.status, response=finish.response, failure=finish.failure))

    async def _commit(self) -> None:
        """Take the time of a commit. A write that is not committed when the process dies is lost."""
        process = self._process
        self.accepted = True
        process.death.pass_by()
        await asyncio.sleep(COMMIT_SECONDS)
        if process.death.dead:
            raise Crash("died before the commit")
        if process.disk.run is None:
            self._put(self.run)
        self.on_disk = True

    def _accept(self) -> None:
        if self._process.disk.run is None:
            self._process.death.pass_by()
            self._put(self.run)
            self.on_disk = True

    def _guarded(self, status: RunStatus) -> Run:
        run = self._process.disk.the_run
        if run.epoch != self.run.epoch or run.status is not status:
            raise FencedError(f"the run is not {status.value} at epoch {self.run.epoch}")
        return run

    def _put(self, run: Run) -> None:
        self._process.disk.run = run
        self._process.changed.set()


async def live(process: Process, handler: Handler) -> Any:
    """
    Run *process* until its run has ended, and return the value.

    Raises:
        Crash: The process died before; nothing of it is left on the loop.
    """
    running = asyncio.ensure_future(process.run_to_end(handler))
    dying = asyncio.ensure_future(process.death.happened.wait())
    await asyncio.wait([running, dying], return_when=asyncio.FIRST_COMPLETED)
    if not process.death.dead:
        dying.cancel()
        return await running
    # Nobody is left to complain of what was not awaited.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    # Whatever still runs can do nothing more: each further effect is refused.
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    await asyncio.gather(running, return_exceptions=True)
    raise Crash("the process died")


class _DyingClock:
    """A clock on which setting a timer is an effect: that is what parking a step does."""

    def __init__(self, clock: Clock, death: Death) -> None:
        self._clock = clock
        self._death = death

    def now(self) -> float:
        return self._clock.now()

    def call_at(self, when: float, callback: Callable[[], object]) -> TimerHandle:
        self._death.pass_by()
        return self._clock.call_at(when, callback)


def _with(run: Run, **changes: Any) -> Run:
    return replace(run, **changes)
