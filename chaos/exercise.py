"""One exercise: workers and clients are started, the storm passes over them, and the books are done."""

from __future__ import annotations

import itertools
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from chaos.books import Books, Fault
from chaos.clients import Client, Sent, Web, follow, tell
from chaos.crew import FRAMEWORKS, Crew, SharedZygote, State
from chaos.cuts import Cuts
from chaos.diary import Diary
from chaos.disk import Disk, LimitedFiles, SmallDisk, database_in
from chaos.file import File, Run
from chaos.plan import Plan
from chaos.requests import requests_of
from chaos.storm import Storm
from chaos.world import World
from testkit.records import Records
from testkit.waiting import wait_until

# How long all runs may take to end once it is quiet.
SETTLE_SECONDS = 90.0
DISK_MEBIBYTES, MEBIBYTES_PER_MINUTE = 64, 12
READ_BACK_SECONDS, MOST_WRONG = 10.0, 10
WORKERS_EACH = 2

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """
    What may be chosen beside the plan.

    Attributes:
        clients: How many there are, for each framework.
        mounts: Whether the database gets a small disk of its own, where that is permitted.
    """

    clients: int = 3
    mounts: bool = True


@dataclass(slots=True)
class Outcome:
    """
    What came of it.

    Attributes:
        disk: What the database was on.
        sent: All requests.
        books: The accounting.
        cuts: The copies of the machine.
        diary: What was done.
        settle_seconds: How long it took all runs to end when it was quiet.
    """

    disk: str
    sent: list[Sent]
    books: Books
    cuts: Cuts
    diary: Diary
    settle_seconds: float
    own_faults: list[Fault] = field(default_factory=list)

    @property
    def faults(self) -> list[Fault]:
        """Everything that is wrong."""
        return [*self.own_faults, *self.books.faults, *(fault for cut in self.cuts.done for fault in cut.faults)]


def worker_names() -> list[str]:
    """Return the names of the workers."""
    return [f"{framework}-{number}" for framework in FRAMEWORKS for number in range(1, WORKERS_EACH + 1)]


class Exercise:
    """
    One exercise, in a folder of its own.

    Args:
        plan: What happens.
        options: What else was chosen.
        folder: Empty; everything is kept there.
        say: Told how far it is.
    """

    def __init__(self, plan: Plan, options: Options, folder: Path, say: Say) -> None:
        self._plan = plan
        self._options = options
        self._folder = folder
        self._say = say
        self._file = File(database_in(folder))
        self._diary = Diary()
        self._stopping = threading.Event()
        self._clients: list[Client] = []

    def run(self) -> Outcome:
        """Do it."""
        with ExitStack() as stack:
            zygote = stack.enter_context(closing(SharedZygote()))
            crew = Crew(zygote, self._folder, WORKERS_EACH)
            disk = self._disk(crew)
            stack.callback(disk.close)
            stack.callback(crew.kill)
            crew.start()
            web = stack.enter_context(closing(Web({worker.name: worker.url for worker in crew})))
            chance = random.Random(f"cuts {self._plan.seed}")
            cuts = Cuts(zygote, self._folder, self._sent, chance, self._plan.furthest_clock)
            self._brave(crew, disk, web, cuts)
            return self._account(crew, disk, web, cuts)

    def _disk(self, crew: Crew) -> Disk:
        if self._options.mounts:
            with suppress(PermissionError):
                return SmallDisk(self._folder, DISK_MEBIBYTES + round(self._plan.seconds / 60 * MEBIBYTES_PER_MINUTE))
        return LimitedFiles(self._folder, lambda: [worker.pid for worker in crew if worker.state is State.UP])

    def _sent(self) -> list[Sent]:
        return [sent for client in self._clients for sent in list(client.sent)]

    def _brave(self, crew: Crew, disk: Disk, web: Web, cuts: Cuts) -> None:
        """Go through the storm, with load, until every worker is up again."""
        with ThreadPoolExecutor(1, "cuts") as executor:
            clock = World(self._folder).clock
            storm = Storm(self._plan, self._folder, crew, disk, clock, self._diary, cuts, executor)
            with closing(storm):
                with self._load(crew, web):
                    storm.blow()
                    self._stopping.set()
                    # While clients still wait: what holds them up has to end.
                    storm.calm()
                # All of them: from here on the file is read by SQLite in this process, see `file`.
                for copy in storm.copies:
                    copy.result()

    @contextmanager
    def _load(self, crew: Crew, web: Web) -> Iterator[None]:
        """Let the clients send requests for the time of a block; what they have begun they end by themselves."""
        clients = []
        for framework, number in itertools.product(FRAMEWORKS, range(self._options.clients)):
            names = [worker.name for worker in crew.of(framework)]
            requests = requests_of(self._plan.seed, f"{framework}-client-{number}", names)
            clients.append(Client(web, requests, self._stopping))
        self._clients = clients
        with ThreadPoolExecutor(len(clients) + 1, "clients") as threads:
            running: list[Future[Any]] = [threads.submit(client.run) for client in clients]
            running.append(threads.submit(self._tell))
            try:
                yield
            except BaseException:
                # Else the clients would be waited for as long as they wait for their answers.
                crew.kill()
                raise
            finally:
                self._stopping.set()
        for client in running:
            client.result()

    def _tell(self) -> None:
        began = time.monotonic()
        while not self._stopping.wait(30):
            said = f"{len(self._sent()):6} requests, {len(self._diary.troubles):4} disturbances"
            self._say(f"{time.monotonic() - began:6.0f} s  {said}")

    def _account(self, crew: Crew, disk: Disk, web: Web, cuts: Cuts) -> Outcome:
        all_sent = self._sent()
        self._write_down(all_sent)
        began = time.monotonic()
        for sent in all_sent:
            # Those that nobody took while their clients tried.
            tell(web, sent, lambda: time.monotonic() > began + SETTLE_SECONDS)
        with suppress(TimeoutError):
            wait_until(lambda: not self._file.unfinished(), "all runs to end", timeout_seconds=SETTLE_SECONDS)
        settle_seconds = time.monotonic() - began
        runs = self._file.runs()
        books = Books(runs, World(self._folder).effects(), self._diary)
        books.check(all_sent)
        outcome = Outcome(disk.title, all_sent, books, cuts, self._diary, settle_seconds)
        outcome.own_faults.extend(self._read_back(crew, web, all_sent, runs))
        if trouble := self._file.trouble():
            outcome.own_faults.append(Fault("damaged", "durable.db", "", trouble))
        return outcome

    def _write_down(self, all_sent: list[Sent]) -> None:
        """Leave what clients saw, and what was done, to who has to find out what went wrong."""
        for name, things in (("sent", all_sent), ("troubles", self._diary.troubles)):
            lines = (msgspec.json.encode(thing) + b"\n" for thing in things)
            (self._folder / f"{name}.jsonl").write_bytes(b"".join(lines))

    def _read_back(self, crew: Crew, web: Web, all_sent: list[Sent], runs: list[Run]) -> Iterator[Fault]:
        """Ask the wait URL of every run for its response, at the place where its client was sent if it was."""
        told, wrong = {sent.request.name: sent.redirected_to for sent in all_sent}, 0
        ended = [run for run in runs if run.is_final]
        paths = Records(database_in(self._folder)).wait_paths(*(run.id for run in ended))
        for run, path in zip(ended, paths, strict=True):
            where = path if run.is_child else told.get(run.name) or path
            names = [worker.name for worker in crew.of(run.framework)]
            answers = list(follow(web, where, names, READ_BACK_SECONDS))
            if (answers[-1].status, answers[-1].body) != run.response:
                got = answers[-1].error or f"{answers[-1].status} {answers[-1].body}"
                yield Fault("wrong", run.name, run.id, f"its wait URL answers {got}, recorded is {run.response}")
                wrong += 1
            if wrong == MOST_WRONG:
                # Each may have taken all of its time.
                return


def keep_or_remove(folder: Path, keep: bool) -> None:
    """Remove a folder, unless it is to be kept."""
    if not keep:
        shutil.rmtree(folder)
