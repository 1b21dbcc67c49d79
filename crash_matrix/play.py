"""One cell is played: processes start, one dies at the named moment, and all goes on until the run has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx

from crash_matrix.bystanders import Bystanders
from crash_matrix.cells import Cell
from crash_matrix.clients import SECONDS, Client, get, send_approval, wait_for
from crash_matrix.crew import Crew
from testkit.effects import Effects
from testkit.forks import Zygote
from testkit.records import Records, RunRecord, database_of

_POLL_SECONDS = 0.02
_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What can be seen when all is over.

    Attributes:
        folder: Holds database, ledger and log.
        name: What the request that was answered is called: another one if the first was not accepted.
        run_id: Its run, or empty if there is not just one.
        answer: Its client's answer.
        answers: What each living worker answers at the wait URL afterwards.
        deaths: How each dead process has ended.
        bystanders: The other runs.
    """

    folder: Path
    name: str
    run_id: str
    answer: httpx.Response
    answers: tuple[httpx.Response, ...]
    deaths: dict[int, int]
    bystanders: Bystanders


class Play:
    """
    One cell.

    Args:
        cell: Which.
        zygote: What the processes are forked from.
        folder: For everything; is to be empty.
    """

    def __init__(self, cell: Cell, zygote: Zygote, folder: Path) -> None:
        self._cell = cell
        self._point = cell.point
        self._pattern = cell.pattern
        self._folder = folder
        self._effects = Effects(folder)
        self._outside = self._effects.outside
        self._records = Records(database_of(folder))
        self._crew = Crew(zygote, cell, folder)
        self._bystanders = Bystanders(self._crew, folder)
        self._name = "subject"

    @contextmanager
    def played(self) -> Iterator[Outcome]:
        """Play it; what came of it is looked at while the workers still live. Raises `TimeoutError`."""
        with closing(self._crew), ThreadPoolExecutor(4) as threads:
            try:
                self._crew.start()
                self._bystanders.begin(threads)
                for place, calls in self._point.traps.items():
                    self._effects.arm(place.format(hit=self._pattern.hit), *calls)
                client = Client(
                    self._crew, self._crew.members[0], f"/{self._pattern.name}/subject{self._query()}", self._lost
                )
                asking = threads.submit(client.ask)
                happening = threads.submit(self._happen)
                self._attend_until(lambda: asking.done() and happening.done())
                happening.result()
                yield self._end(asking.result())
            finally:
                self._outside.open("*")

    def _query(self) -> str:
        point, pattern = self._point, self._pattern
        return "?" + urlencode(
            {"flaky": pattern.hit if self._cell.is_flaky else "", "hold": self._cell.held, "pause": point.pause}
        )

    def _happen(self) -> None:
        """Do from outside what the point and the pattern ask for."""
        held = self._cell.held
        if held == "one":
            wait_for(
                lambda: self._outside.calls("subject.one holds") and self._subject(), "an accepted run in step one"
            )
            self._bystanders.add_old_runs()
        if self._point.killed_in == "pause":
            self._kill_while_it_waits(self._pattern.name, self._pattern.pause)
        if held and self._point.killed_in != "commit":
            wait_for(lambda: self._crew.deaths, "the death")
            self._outside.open(f"subject.{held} holds")
        if self._pattern.name == "wait":
            wait_for(lambda: self._waits_in(self._pattern.pause), "the run to wait for its event")
            send_approval(self._crew, self._name)
        if self._point.killed_in == "backoff":
            self._kill_while_it_waits(self._pattern.place_of_hit, self._pattern.hit)
        if self._point.killed_in == "commit":
            self._kill_before_the_commit(f"subject.{self._pattern.hit}")

    def _kill_while_it_waits(self, endpoint: str, key: str) -> None:
        wait_for(lambda: self._waits_in(key, endpoint), f"{endpoint} to wait in step {key}")
        if held := self._cell.held:
            wait_for(lambda: self._outside.calls(f"subject.{held} holds"), "the other run to be in its step")
        self._crew.kill(self._outside.calls(f"subject.enters {endpoint}")[-1]["pid"])

    def _kill_before_the_commit(self, action: str) -> None:
        wait_for(lambda: self._outside.calls(f"{action} holds"), "the step to be called")
        with self._records.locked():
            self._outside.open(f"{action} holds")
            (pid,) = wait_for(lambda: [call["pid"] for call in self._outside.calls(action)], "the effect")
            (member,) = (member for member in self._crew.members if member.pid == pid)
            # While requests come and go, a handler that did not wait for the commit would go on.
            for _ in range(_REQUESTS):
                get(f"{member.url}/nothing")
            self._crew.kill(pid)

    def _subject(self, endpoint: str = "") -> RunRecord | None:
        wanted = endpoint or self._pattern.name
        return next((run for run in self._records.runs() if run.endpoint == wanted), None)

    def _waits_in(self, key: str, endpoint: str = "") -> bool:
        run = self._subject(endpoint)
        return run is not None and run.status == "waiting" and key in self._records.steps(run.id)

    def _lost(self) -> str:
        """Return what a client asks for whose connection broke: its run, if it was accepted, else the same again."""
        run = self._subject()
        if run is not None:
            return self._records.wait_paths(run.id)[0]
        self._name = "again"
        return f"/{self._pattern.name}/again{self._query()}"

    def _attend_until(self, is_over: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 2 * SECONDS
        while not is_over():
            if time.monotonic() > deadline:
                raise TimeoutError(f"it was not over in {2 * SECONDS} s")
            self._crew.attend()
            self._bystanders.attend()
            time.sleep(_POLL_SECONDS)

    def _end(self, answer: httpx.Response) -> Outcome:
        self._bystanders.let_go()
        self._attend_until(lambda: len(self._crew.deaths) >= self._point.deaths)
        if self._point.env_again:
            # Whoever died in mid-migration or in mid-delete ends it when it is started again.
            self._crew.start_dead()
        wait_for(lambda: len(self._unfinished()) <= 1, "all runs but one to end")
        self._bystanders.busy_answer()
        runs = [run for run in self._records.runs() if run.endpoint == self._pattern.name]
        run_id = runs[0].id if len(runs) == 1 else ""
        (path,) = self._records.wait_paths(run_id)
        for member in self._crew.living():
            # Runs go on, and may end, before the server listens.
            member.wait_ready()
        answers = tuple(get(f"{member.url}{path}") for member in self._crew.living())
        return Outcome(self._folder, self._name, run_id, answer, answers, dict(self._crew.deaths), self._bystanders)

    def _unfinished(self) -> list[RunRecord]:
        return [run for run in self._records.runs() if not run.is_final]
