"""The other runs on the database: nothing may happen to them because a process died."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
from inngest_durable.engines.ulids import ulid_time

from crash_matrix.clients import Client, get, wait_for
from crash_matrix.crew import Crew, Member
from testkit.outside import Outside
from testkit.records import Records, database_of

ENDPOINT = "bystander"
STEPS = ("first", "second", "third")
# Old runs are deleted fifty at a time.
OLD_RUNS = 120
OLD_SECONDS = 30 * 86400.0
_ASLEEP_MILLISECONDS = 3_600_000
_TABLES = {"runs": "id", "steps": "run_id", "run_events": "run_id"}

Rows = list[dict[str, Any]]


class Bystanders:
    """
    A run that has ended, one that sleeps for an hour, and one that is busy in the last worker.

    Args:
        crew: The workers.
        folder: Which they share.

    Attributes:
        ids: Of the first two, by name.
        before: What the database said of those.
        busy_in: The process that the busy one was in at first.
    """

    def __init__(self, crew: Crew, folder: Path) -> None:
        self.ids: dict[str, str] = {}
        self.before: dict[str, dict[str, Rows]] = {}
        self.busy_in = 0
        self._crew = crew
        self._folder = folder
        self._outside = Outside(folder)
        self._records = Records(database_of(folder))
        self._busy: Future[httpx.Response] | None = None

    def begin(self, threads: Executor) -> None:
        """Let them come to where they are to be."""
        first, last = self._crew.members[0], self._crew.members[-1]
        self._ask(first, "done", "", "completed")
        self._ask(first, "asleep", f"?pause={_ASLEEP_MILLISECONDS}", "waiting")
        self.before = {name: self.rows_of(run_id) for name, run_id in self.ids.items()}
        path = f"/{ENDPOINT}/busy?hold=second"
        busy = Client(self._crew, last, path, lambda: self._records.wait_paths(self.busy().id)[0])
        self.busy_in = last.pid
        self._busy = threads.submit(busy.ask)
        wait_for(lambda: self._outside.calls("busy.second holds"), "the busy bystander to be in its step")

    def _ask(self, member: Member, name: str, query: str, status: str) -> None:
        """Let one come to where it stays."""
        self.ids[name] = run_id = get(f"{member.url}/{ENDPOINT}/{name}{query}").headers["x-inngest-run-id"]
        wait_for(lambda: (run := self._records.run(run_id)) and run.status == status, f"{name} to be {status}")

    def attend(self) -> None:
        """Let the busy one go on once its process has died: a run that is suspected of that may hold others up."""
        if self.busy_in in self._crew.deaths:
            self.let_go()

    def let_go(self) -> None:
        """Let the busy one go on."""
        self._outside.open("busy.second holds")

    def busy_answer(self) -> httpx.Response:
        """Return what the client of the busy one was answered."""
        assert self._busy is not None
        return self._busy.result()

    def busy(self) -> Any:
        """Return the record of the busy one."""
        # The youngest; the old ones are of this endpoint, too.
        (busy,) = (run for run in self._records.runs() if run.endpoint == ENDPOINT and run.id > self.ids["asleep"])
        return busy

    def rows_of(self, run_id: str) -> dict[str, Rows]:
        """Return all that the database says of a run."""
        with _reading(database_of(self._folder)) as db:
            # The names in these statements are the tables' own.
            return {
                table: [dict(row) for row in db.execute(f"SELECT * FROM {table} WHERE {column} = ?", (run_id,))]  # noqa: S608
                for table, column in _TABLES.items()
            }

    def add_old_runs(self) -> None:
        """Let there be runs that ended long ago, each like the one that has ended."""
        born = ulid_time(time.time() - OLD_SECONDS)
        rows = [(table, row) for table in ("runs", "steps") for row in self.before["done"][table]]
        with closing(sqlite3.connect(database_of(self._folder), timeout=10)) as db, db:
            for number in range(OLD_RUNS):
                run_id = f"{born}{number:016}"
                for table, row in rows:
                    old = {**row, _TABLES[table]: run_id}
                    if table == "runs":
                        old["ended_at"] = old["created_at"] = time.time() - OLD_SECONDS
                    marks = ", ".join("?" for _ in old)
                    columns = ", ".join(old)
                    # As above.
                    db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", [*old.values()])  # noqa: S608

    def old_runs(self) -> int:
        """Return how many of those are left."""
        with _reading(database_of(self._folder)) as db:
            born = ulid_time(time.time() - OLD_SECONDS + 3600)
            ((count,),) = db.execute("SELECT count(*) FROM runs WHERE id < ?", (born,))
        return int(count)


@contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as db:
        db.row_factory = sqlite3.Row
        yield db
