"""A worker is dead when its process is: not before, however others look at it, and at once after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from inngest_durable.engines.embedded.worker_lock import WorkerLock

HOLDS = """
import sys, time
from inngest_durable.engines.embedded.worker_lock import WorkerLock
WorkerLock(sys.argv[1], sys.argv[2]).acquire()
print("held", flush=True)
time.sleep(60)
"""

FORKS = """
import os, sys, time
from inngest_durable.engines.embedded.worker_lock import WorkerLock
lock = WorkerLock(sys.argv[1], sys.argv[2])
lock.acquire()
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The file beside which the locks are; it need not exist."""
    return tmp_path / "durable.db"


@pytest.fixture
def lock(database: Path) -> Iterator[WorkerLock]:
    """The lock of this process."""
    lock = WorkerLock(database, "01JW1")
    lock.acquire()
    yield lock
    lock.release()


def start(program: str, database: Path, worker_id: str) -> tuple[subprocess.Popen[str], str]:
    """Start a process that holds the lock of *worker_id*; return it and what it says then."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(database), worker_id], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = process.stdout.readline().strip()
    process.stdout.close()
    return process, said


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_worker_that_runs_is_not_dead(database: Path, lock: WorkerLock) -> None:
    other = WorkerLock(database, "01JW2")

    assert not other.is_dead("01JW1")
    assert not lock.is_dead("01JW1")

    # Looking has not taken the lock away.
    assert not other.is_dead("01JW1")


def test_worker_that_stopped_is_dead_and_leaves_no_file(database: Path) -> None:
    lock, other = WorkerLock(database, "01JW1"), WorkerLock(database, "01JW2")
    lock.acquire()
    lock.release()
    lock.release()

    assert other.is_dead("01JW1")
    assert list(Path(f"{database}.workers").iterdir()) == []


def test_worker_without_a_file_is_dead(database: Path) -> None:
    assert WorkerLock(database, "01JW1").is_dead("01JX")


def test_worker_lives_whatever_the_working_directory(
    database: Path, lock: WorkerLock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the one who looks: a step that works in a folder of its own changes it for the whole process."""
    monkeypatch.chdir(tmp_path)
    other = WorkerLock(database.name, "01JW2")
    monkeypatch.chdir("/")

    assert not other.is_dead("01JW1")


def test_worker_lives_by_whatever_name_its_file_goes(database: Path, lock: WorkerLock, tmp_path: Path) -> None:
    """SQLite follows a link, so both work on one file."""
    database.touch()
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(database)

    assert not WorkerLock(link, "01JW2").is_dead("01JW1")


def test_killed_process_is_dead_at_once(database: Path, lock: WorkerLock) -> None:
    process, _ = start(HOLDS, database, "01JW2")

    assert not lock.is_dead("01JW2")

    kill(process)

    assert lock.is_dead("01JW2")


def test_forked_child_does_not_keep_its_parent_alive(database: Path, lock: WorkerLock) -> None:
    process, child = start(FORKS, database, "01JW2")
    try:
        assert not lock.is_dead("01JW2")

        kill(process)

        assert lock.is_dead("01JW2")
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_end_of_a_forked_child_leaves_its_parent_alive(database: Path, lock: WorkerLock) -> None:
    process, child = start(FORKS, database, "01JW2")
    os.kill(int(child), signal.SIGKILL)

    assert not lock.is_dead("01JW2")

    kill(process)


def test_forgotten_worker_leaves_no_file(database: Path, lock: WorkerLock) -> None:
    process, _ = start(HOLDS, database, "01JW2")
    lock.forget("01JW2")

    assert not lock.is_dead("01JW2")

    kill(process)
    lock.forget("01JW2")
    lock.forget("01JW2")

    assert [file.name for file in Path(f"{database}.workers").iterdir()] == ["01JW1.lock"]


def test_worker_that_starts_removes_what_the_dead_have_left(database: Path) -> None:
    """One that was killed before it was recorded, as while it waited for the database, is found by nothing else."""
    dead, _ = start(HOLDS, database, "01JW1")
    living, _ = start(HOLDS, database, "01JW2")
    kill(dead)
    lock = WorkerLock(database, "01JW3")
    lock.acquire()

    assert sorted(file.name for file in Path(f"{database}.workers").iterdir()) == ["01JW2.lock", "01JW3.lock"]
    assert not lock.is_dead("01JW2")

    kill(living)
    lock.release()


def test_two_that_look_at_a_dead_worker_both_see_it(database: Path, lock: WorkerLock) -> None:
    process, _ = start(HOLDS, database, "01JW2")
    kill(process)
    wrong: list[bool] = []

    def look() -> None:
        other = WorkerLock(database, "01JW3")
        wrong.extend(True for _ in range(2000) if not other.is_dead("01JW2"))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_workers_that_are_watched_while_they_start_all_start(database: Path) -> None:
    folder = Path(f"{database}.workers")
    ends = threading.Event()
    seen_dead: list[str] = []
    held: set[str] = set()

    def look() -> None:
        other = WorkerLock(database, "01JX")
        while not ends.is_set():
            for file in folder.glob("*.lock"):
                worker_id = file.name.removesuffix(".lock")
                if other.is_dead(worker_id) and worker_id in held:
                    seen_dead.append(worker_id)

    thread = threading.Thread(target=look)
    thread.start()
    for number in range(300):
        lock = WorkerLock(database, f"01JW{number}")
        lock.acquire()
        held.add(lock.worker_id)
        assert not lock.is_dead(lock.worker_id)
        held.discard(lock.worker_id)
        lock.release()
    ends.set()
    thread.join()

    assert seen_dead == []


def test_lock_files_belong_to_their_user_only(database: Path, lock: WorkerLock) -> None:
    folder = Path(f"{database}.workers")

    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "01JW1.lock").stat().st_mode & 0o777 == 0o600
