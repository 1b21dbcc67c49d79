"""The storm: does what the plan says at its time, and starts workers again, as a supervisor would."""

from __future__ import annotations

import heapq
import itertools
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from pathlib import Path

from chaos.crew import Crew, State, Worker
from chaos.cuts import Cuts
from chaos.diary import Death, Diary, Trouble
from chaos.disk import Disk, database_in
from chaos.lock import MODES
from chaos.plan import Disturbance, Plan
from chaos.world import MachineClock
from testkit.processes import Process

_TICK_SECONDS = 0.05
# How long a worker may take to end after SIGTERM: its grace, the time to write on a full disk, and some more.
_ENDS_WITHIN_SECONDS = 30.0
_TRY_AGAIN_SECONDS = 0.3
_LOOK_SECONDS = 1.0
# What may keep a worker from starting.
_PREVENTS_STARTING = frozenset(("full", "lock", "stop"))


class Storm:
    """
    One plan as it happens. Lives in one thread, which calls `blow` and then `calm`.

    Args:
        plan: What happens.
        folder: Of the workers.
        crew: The workers, which are up.
        disk: What their database is on.
        clock: The clock that they read.
        diary: Is told what happens.
        cuts: Takes the copies, in *executor*.
        executor: One thread.

    Attributes:
        copies: What the executor was given.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        crew: Crew,
        disk: Disk,
        clock: MachineClock,
        diary: Diary,
        cuts: Cuts,
        executor: Executor,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._crew = crew
        self._disk = disk
        self._clock = clock
        self._diary = diary
        self._cuts = cuts
        self._executor = executor
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._troubles: dict[str, Trouble] = {}
        self._locks: list[tuple[Process, Trouble]] = []
        self._told_at: dict[str, float] = {}
        self._next_look = 0.0
        self.copies: list[Future[None]] = []

    def blow(self) -> None:
        """Do all that is planned; returns when its time is over."""
        began = time.monotonic()
        for disturbance in self._plan.disturbances:
            self._at(began + disturbance.at, partial(self._do, disturbance))
        self._until(lambda: time.monotonic() > began + self._plan.seconds)

    def calm(self) -> None:
        """End what is still going on, and return when every worker is up; that one is not is a fault."""
        deadline = time.monotonic() + 2 * _ENDS_WITHIN_SECONDS
        self._until(lambda: self._is_calm() or time.monotonic() > deadline)
        for worker in self._crew:
            if worker.state is not State.UP:
                self._diary.faults.append(f"{worker.name} is not up again, but {worker.state.value}")
        self._clock.set(self._plan.furthest_clock)

    def _is_calm(self) -> bool:
        return not self._due and not self._locks and all(worker.state is State.UP for worker in self._crew)

    def _until(self, over: Callable[[], bool]) -> None:
        while not over():
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            self._supervise(now)
            time.sleep(_TICK_SECONDS)

    def _at(self, when: float, act: Callable[[], object]) -> None:
        heapq.heappush(self._due, (when, next(self._order), act))

    def _after(self, seconds: float, act: Callable[[], object]) -> None:
        self._at(time.monotonic() + seconds, act)

    # What is planned

    def _do(self, planned: Disturbance) -> None:
        if planned.what == "cut":
            self.copies.append(self._executor.submit(self._cuts.take, planned.tail))
            self._diary.end(self._diary.begin("cut"))
        elif planned.what == "clock":
            self._clock.set(planned.seconds)
            self._diary.end(self._diary.begin("clock"))
        elif planned.what == "lock":
            self._lock(planned)
        elif planned.what == "full":
            trouble = self._diary.begin("full")
            self._disk.fill()
            self._after(planned.seconds, partial(self._free, trouble))
        elif planned.what == "blackout":
            workers = [worker for worker in self._crew if self._may_disturb(worker)]
            self._kill(workers, planned.seconds)
            self._diary.end(self._diary.begin("blackout"))
        else:
            self._disturb(self._crew[planned.worker], planned.what, planned.seconds)

    def _disturb(self, worker: Worker, what: str, seconds: float) -> None:
        if not self._may_disturb(worker):
            return
        if what == "kill":
            self._kill([worker], seconds)
        elif what == "term":
            self._terminate(worker, seconds)
        else:
            self._troubles[worker.name] = self._diary.begin("stop", worker.name)
            worker.signal(signal.SIGSTOP)
            self._after(
                seconds, partial(self._kill, [worker], 0.0) if what == "stop, kill" else partial(self._go_on, worker)
            )

    def _may_disturb(self, worker: Worker) -> bool:
        free = worker.state is State.UP and worker.name not in self._troubles
        self._diary.skipped += not free
        return free

    def _lock(self, planned: Disturbance) -> None:
        mode = MODES[int(planned.at * 100) % len(MODES)]
        command = [sys.executable, "-m", "chaos.lock", str(database_in(self._folder)), str(planned.seconds), mode]
        trouble = self._diary.begin("lock")
        root = Path(__file__).resolve().parent.parent
        self._locks.append((Process(command, env={}, cwd=root, log=self._folder / "lock.log"), trouble))

    def _free(self, trouble: Trouble) -> None:
        self._disk.free()
        self._diary.end(trouble)

    # What is done to a worker, and for it

    def _kill(self, workers: Sequence[Worker], restart_seconds: float) -> None:
        for worker in workers:
            if (stopped := self._troubles.pop(worker.name, None)) is not None:
                self._diary.end(stopped)
            self._troubles[worker.name] = self._diary.begin("kill", worker.name)
        told_at = time.monotonic()
        for worker in workers:
            # Before the end of any is waited for: none of several is to see another one die.
            worker.signal(signal.SIGKILL)
        for worker in workers:
            worker.kill()
            self._diary.deaths[worker.pid].append(Death(worker.name, told_at, time.monotonic(), gently=False))
            worker.state = State.DOWN
            self._after(restart_seconds, partial(self._start, worker))

    def _terminate(self, worker: Worker, restart_seconds: float) -> None:
        self._troubles[worker.name] = self._diary.begin("term", worker.name)
        self._told_at[worker.name] = time.monotonic()
        worker.state, worker.restart_seconds = State.ENDING, restart_seconds
        worker.signal(signal.SIGTERM)

    def _go_on(self, worker: Worker) -> None:
        worker.signal(signal.SIGCONT)
        self._diary.end(self._troubles.pop(worker.name))

    def _start(self, worker: Worker) -> None:
        worker.start()
        worker.state, worker.since = State.STARTING, time.monotonic()

    def _supervise(self, now: float) -> None:
        look = now >= self._next_look
        if look:
            self._next_look = now + _LOOK_SECONDS
        for worker in self._crew:
            if worker.state is State.STARTING:
                self._see_start(worker, now)
            elif worker.state is State.ENDING:
                self._see_end(worker, now)
            elif worker.state is State.UP and look and worker.has_ended:
                self._see_crash(worker, now)
        for process, trouble in self._locks:
            if not process.running:
                process.kill()
                self._diary.end(trouble)
        self._locks = [(process, trouble) for process, trouble in self._locks if process.running]

    def _see_start(self, worker: Worker, now: float) -> None:
        if worker.has_ended:
            if not self._diary.happened(_PREVENTS_STARTING, worker.since, now):
                self._diary.faults.append(f"{worker.name} ended at its start, see server.log")
            worker.state = State.DOWN
            self._after(_TRY_AGAIN_SECONDS, partial(self._start, worker))
        elif worker.is_listening:
            worker.state = State.UP
            self._diary.end(self._troubles.pop(worker.name))

    def _see_end(self, worker: Worker, now: float) -> None:
        told_at = self._told_at[worker.name]
        gently = worker.has_ended
        if not gently and now < told_at + _ENDS_WITHIN_SECONDS:
            return
        if not gently:
            self._diary.faults.append(f"{worker.name} did not end within {_ENDS_WITHIN_SECONDS:g} s of SIGTERM")
            worker.kill()
        self._diary.deaths[worker.pid].append(Death(worker.name, told_at, now, gently))
        worker.state = State.DOWN
        self._after(worker.restart_seconds, partial(self._start, worker))

    def _see_crash(self, worker: Worker, now: float) -> None:
        self._diary.faults.append(f"{worker.name} ended by itself, see server.log")
        self._troubles[worker.name] = self._diary.begin("crash", worker.name)
        self._diary.deaths[worker.pid].append(Death(worker.name, now - _LOOK_SECONDS, now, gently=False))
        worker.state = State.DOWN
        self._after(0, partial(self._start, worker))

    def close(self) -> None:
        """End whatever holds the lock."""
        for process, _ in self._locks:
            with suppress(ProcessLookupError):
                process.kill()
