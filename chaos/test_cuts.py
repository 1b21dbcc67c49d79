"""What is missing in a copy of the machine, or goes wrong in it, is found; and nothing where all is well."""

from __future__ import annotations

import random
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import pytest

from chaos.clients import Sent, Web
from chaos.crew import Crew, SharedZygote, Worker
from chaos.cuts import Cuts, _compare
from chaos.disk import database_in
from chaos.file import Run
from chaos.kinds import KINDS, right_response
from chaos.plan import Tail
from chaos.requests import Request
from chaos.wal import Log
from chaos.world import World

TOKENS = {step: f"{step}!" for step in KINDS["chain"].steps}
ENDED = Run("R", "quart", "chain", "n", "completed", right_response(KINDS["chain"], TOKENS), TOKENS)


def request() -> Sent:
    return Sent(Request("n", "chain", "/chain/n", 0, ("quart-1",), False, False, 0.0))


@pytest.fixture(scope="module")
def zygote() -> Iterator[SharedZygote]:
    with closing(SharedZygote()) as started:
        yield started


@pytest.fixture
def answered(zygote: SharedZygote, tmp_path: Path) -> Iterator[Sent]:
    """Give a request that a worker has answered, while that worker still has the database open."""
    database_in(tmp_path).parent.mkdir()
    crew = Crew(zygote, tmp_path, each=1)
    try:
        crew.start()
        with closing(Web({worker.name: worker.url for worker in crew})) as web:
            sent = request()
            sent.answers.append(web.ask("request", "quart-1", sent.request.path))
        assert sent.answers[0].status == 200
        yield sent
    finally:
        crew.kill()


def faults(zygote: SharedZygote, folder: Path, sent: Sent) -> list[str]:
    """Return the kinds of the faults in a copy that is taken now."""
    cuts = Cuts(zygote, folder, lambda: [sent], random.Random(1), 0.0)
    cuts.take("whole")
    (cut,) = cuts.done
    return [fault.what for fault in cut.faults]


def test_copy_of_what_went_well_is_clean(zygote: SharedZygote, answered: Sent, tmp_path: Path) -> None:
    assert faults(zygote, tmp_path, answered) == []


def test_run_that_is_not_in_a_copy_is_lost(zygote: SharedZygote, answered: Sent, tmp_path: Path) -> None:
    answered.answers.append(replace(answered.answers[0], run_id="01K"))

    assert faults(zygote, tmp_path, answered) == ["lost"]


def test_memo_that_is_not_in_a_copy_is_lost(zygote: SharedZygote, answered: Sent, tmp_path: Path) -> None:
    (answer,) = answered.answers
    answered.answers.append(replace(answer, body=answer.body | {"two": "shown, and not recorded"}))

    assert faults(zygote, tmp_path, answered) == ["lost"]


def test_copy_whose_workers_hang_is_stuck(
    zygote: SharedZygote, answered: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy stays in its folder, and the accounting goes on."""
    start = Worker.start

    def start_stopped(worker: Worker) -> None:
        start(worker)
        worker.signal(signal.SIGSTOP)

    monkeypatch.setattr(Worker, "start", start_stopped)
    monkeypatch.setattr(Worker, "wait_ready", partialmethod(Worker.wait_ready, timeout_seconds=0.5))

    assert faults(zygote, tmp_path, answered) == ["stuck"]
    assert database_in(tmp_path / "cut-1").exists()


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (ENDED, []),
        (replace(ENDED, status="waiting", response=None), ["stuck"]),
        (replace(ENDED, response=(200, {})), ["stuck"]),
        (replace(ENDED, tokens=TOKENS | {"two": "again!"}), ["twice", "stuck"]),
    ],
    ids=["ended", "waits", "answers otherwise", "has another memo"],
)
def test_run_in_a_copy_ends_as_it_has_to(after: Run, expected: list[str], tmp_path: Path) -> None:
    found = _compare("cut-1", {"R": ENDED}, [after], World(tmp_path), {"n": request()})

    assert [fault.what for fault in found] == expected


def test_step_that_a_copy_executes_after_it_was_memoized_is_twice(tmp_path: Path) -> None:
    World(tmp_path).perform("n", "two", "key")
    found = _compare("cut-1", {"R": ENDED}, [ENDED], World(tmp_path), {"n": request()})

    assert [fault.what for fault in found] == ["twice"]


@pytest.mark.parametrize(
    ("tail", "changes", "shortens"), [("whole", False, False), ("torn", True, True), ("zeroed", True, False)]
)
def test_power_cut_spoils_nothing_but_what_came_after_the_copy(
    tail: Tail, changes: bool, shortens: bool, zygote: SharedZygote, tmp_path: Path
) -> None:
    database = tmp_path / "t.db"
    cuts = Cuts(zygote, tmp_path, list, random.Random(1), 0.0)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        kept, log = Log(database).committed(), Path(f"{database}-wal")
        connection.execute("INSERT INTO t VALUES (randomblob(9000))")
        before, spoiled = log.read_bytes(), []
        for _ in range(20):
            log.write_bytes(before)
            assert cuts._spoil(database, kept, tail) == len(before) - kept
            spoiled.append(log.read_bytes())

    assert all(after[:kept] == before[:kept] for after in spoiled)
    # By chance, one of them may be as it was.
    assert any(after != before for after in spoiled) == changes
    assert any(len(after) < len(before) for after in spoiled) == shortens
