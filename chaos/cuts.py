"""
The power fails, as far as one can make it here: the files are copied while they are written, and the copy is opened.

**The order.** First the database file, then its write-ahead log, and no -shm file: that one is memory, and a machine
that starts has none. The database file changes only when a checkpoint moves pages from the log into it, and the log
keeps those pages until it is written from its start again, which its header shows: such a copy is thrown away, and
another one taken. So whatever mixture of old and new pages the copy of the database file holds, the log that was
copied after it holds the new ones, as SQLite has made sure for a power cut in the middle of a checkpoint.

**The tail.** What is in the log when the database file has been copied stays: it is committed, and what is in the
database file may depend on it. What comes after that, until the log is copied too, may be unsynced when the power
fails: it is left whole, cut off at any byte, or overwritten by zeros from any byte to any other.

Whatever clients had been shown before the copying began has to be in every such copy, and the runs in it have to end.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chaos.books import Fault
from chaos.clients import Sent, Web, tell
from chaos.crew import Crew, SharedZygote
from chaos.disk import database_in
from chaos.file import File, Run
from chaos.kinds import CHILD, KINDS, NUMBERS, Kind, right_response
from chaos.plan import Tail
from chaos.wal import Log
from chaos.world import World
from testkit.waiting import wait_until

TRIES = 10
# Commits come in for that long after the database file was copied.
TAIL_SECONDS = (0.02, 0.4)
SETTLE_SECONDS = 60.0


@dataclass(slots=True)
class Cut:
    """
    One copy of the machine.

    Attributes:
        tail: What became of the end of its log.
        tail_bytes: How long that was.
        shown: Runs and memos that clients had been shown.
        unfinished: Runs that were under way in it.
        faults: What is wrong with it.
    """

    tail: Tail
    tail_bytes: int = 0
    shown: int = 0
    unfinished: int = 0
    faults: list[Fault] = field(default_factory=list)


class Cuts:
    """
    Takes copies and looks after them, one at a time.

    Args:
        zygote: What workers are forked from.
        folder: Of the workers whose files are copied.
        sent: Gives what was sent so far.
        chance: For moments and offsets.
        clock_offset: Where the copies' clocks are set.

    Attributes:
        done: The copies.
        skipped: How many could not be taken: the log was written from its start again each time, or not there.
    """

    def __init__(
        self,
        zygote: SharedZygote,
        folder: Path,
        sent: Callable[[], list[Sent]],
        chance: random.Random,
        clock_offset: float,
    ) -> None:
        self.done: list[Cut] = []
        self.skipped = 0
        self._zygote = zygote
        self._folder = folder
        self._sent = sent
        self._chance = chance
        self._clock_offset = clock_offset

    def take(self, tail: Tail) -> None:
        """Take a copy now, and see to it that it is whole."""
        number = len(self.done) + self.skipped + 1
        folder = self._folder / f"cut-{number}"
        shown = _shown(self._sent())
        cut = self._copy(folder, tail)
        if cut is None:
            self.skipped += 1
        else:
            self.done.append(cut)
            requests = {sent.request.name: sent for sent in self._sent()}
            try:
                cut.faults.extend(self._check(folder, cut, shown, requests))
            except (RuntimeError, sqlite3.DatabaseError) as error:
                cut.faults.append(Fault("damaged", folder.name, "", str(error)))
            except TimeoutError as error:
                cut.faults.append(Fault("stuck", folder.name, "", str(error)))
        if cut is None or not cut.faults:
            shutil.rmtree(folder)

    def _copy(self, folder: Path, tail: Tail) -> Cut | None:
        source, target = database_in(self._folder), database_in(folder)
        target.parent.mkdir(parents=True)
        for _ in range(TRIES):
            header = Log(source).header()
            shutil.copyfile(source, target)
            kept = Log(source).committed()
            time.sleep(self._chance.uniform(*TAIL_SECONDS))
            if kept:
                shutil.copyfile(f"{source}-wal", f"{target}-wal")
                if Log(target).header() == header:
                    return Cut(tail, self._spoil(target, kept, tail))
        return None

    def _spoil(self, database: Path, kept: int, tail: Tail) -> int:
        """Do to the end of a log what a power cut may do to what was not synced; return how many bytes that is."""
        end = max(Log(database).committed(), kept)
        log = Path(f"{database}-wal")
        first = self._chance.randint(kept, end)
        if tail == "torn":
            os.truncate(log, first)
        elif tail == "zeroed":
            with log.open("r+b") as opened:
                opened.seek(first)
                opened.write(bytes(self._chance.randint(0, end - first)))
        return end - kept

    def _check(
        self, folder: Path, cut: Cut, shown: Mapping[str, set[str]], requests: Mapping[str, Sent]
    ) -> Iterator[Fault]:
        where = folder.name
        before = self._look(folder)
        tokens = {run.id: set(run.tokens.values()) for run in before.values()}
        everything = set().union(*tokens.values())
        for run_id, promised in shown.items():
            if run_id not in before:
                yield Fault("lost", where, run_id, "a client was told of this run, and the copy does not have it")
            elif not promised <= everything:
                yield Fault("lost", where, run_id, "a client was shown its steps' results, and the copy has no memos")
        cut.shown = len(shown) + sum(len(promised) for promised in shown.values())
        cut.unfinished = sum(not run.is_final for run in before.values())

        crew = Crew(self._zygote, folder, each=1)
        World(folder).clock.set(self._clock_offset)
        try:
            crew.start()
            with closing(Web({worker.name: worker.url for worker in crew})) as web:
                _tell_all(web, before, requests)
            file = File(database_in(folder))
            with suppress(TimeoutError):
                wait_until(lambda: not file.unfinished(), "the copy's runs to end", timeout_seconds=SETTLE_SECONDS)
            yield from _compare(where, before, file.runs(), World(folder), requests)
            if trouble := file.trouble():
                yield Fault("damaged", where, "", trouble)
        finally:
            crew.kill()

    def _look(self, folder: Path) -> dict[str, Run]:
        """Return the runs in a copy by ID, looking at a copy of it: the first to open it repairs it."""
        looked_at = folder / "looked-at"
        shutil.copytree(database_in(folder).parent, looked_at)
        file = File(looked_at / database_in(folder).name)
        if trouble := file.trouble():
            raise RuntimeError(trouble)
        found = {run.id: run for run in file.runs()}
        shutil.rmtree(looked_at)
        return found


def _shown(all_sent: list[Sent]) -> dict[str, set[str]]:
    """Return the runs that clients know of by ID, each with the results of steps in what they were shown."""
    shown: dict[str, set[str]] = {}
    for sent in all_sent:
        for answer in list(sent.answers):
            if answer.run_id:
                tokens = shown.setdefault(answer.run_id, set())
                if answer.is_final:
                    tokens.update(_tokens(sent.request.kind, answer.body))
    return shown


def _tokens(kind: Kind, body: Mapping[str, Any]) -> Iterator[str]:
    yield from (body[step] for step in kind.steps if step in body)
    if kind.child is not None:
        yield from _tokens(kind.child, body["child"])


def _tell_all(web: Web, runs: Mapping[str, Run], requests: Mapping[str, Sent]) -> None:
    """Send the events that runs in the copy wait for; they may have come, or not."""
    deadline = time.monotonic() + SETTLE_SECONDS
    for run in runs.values():
        if run.route == "told" and not run.is_final:
            request = replace(requests[run.name].request, workers=(f"{run.framework}-1",))
            tell(web, Sent(request, events_due=[NUMBERS]), lambda: time.monotonic() > deadline)


def _compare(
    where: str, before: Mapping[str, Run], after: list[Run], world: World, requests: Mapping[str, Sent]
) -> Iterator[Fault]:
    """Compare how the copy's runs ended with how they were."""
    executed = {(effect.name, effect.step) for effect in world.effects()}
    children = {run.name: run for run in after if run.is_child}
    for run in after:
        was = before.get(run.id)
        for step, token in was.tokens.items() if was is not None else ():
            if (run.name, step) in executed or run.tokens.get(step) != token:
                yield Fault("twice", where, run.id, f"step {step} was executed after it was memoized")
        kind = CHILD if run.is_child else KINDS[requests[run.name].request.kind_name]
        child = children.get(run.name)
        tokens = {**run.tokens, **(child.tokens if child is not None else {})}
        right = right_response(kind, tokens)
        if run.status != "completed" or run.response != right:
            yield Fault("stuck", where, run.id, f"it is {run.status} in the end: {run.response}, not {right}")
