"""The disk is full for a while: nothing that was accepted is lost, and no client waits for it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from packages.inngest_durable.tests.workers.team import Member, Team
from testkit.records import Records
from testkit.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the disk is made full by means of Linux")

UNAVAILABLE = {"error": "runs cannot be recorded at the moment; try again later"}
MANY = 20


class Disk:
    """
    A disk that the test fills, and the server on it.

    Args:
        team: Its workers are one.
        database: The file on that disk.
    """

    def __init__(self, team: Team, database: Path) -> None:
        self.team = team
        self.outside = team.outside
        self.database = database
        self.records = Records(database)
        # A worker that stops while its disk is full tries until its time is up.
        (self.member,) = team.start(DATABASE=str(database), CLOSE_SECONDS="0.5")

    def fill(self) -> None:
        """Let every commit fail from here on."""
        raise NotImplementedError

    def free(self) -> None:
        """Let commits succeed again."""
        raise NotImplementedError

    def fill_in_second_step(self) -> httpx.Response:
        """Fill it while the second step of ``/held/x`` executes, which ends then; return what the client is told."""
        with ThreadPoolExecutor() as threads:
            asking = threads.submit(self.member.get, "/held/x")
            self.outside.wait_for("x/two")
            self.fill()
            self.outside.open("x")
            return asking.result()


class LimitedFile(Disk):
    """The server process may not make its write-ahead log any longer: an I/O error."""

    def fill(self) -> None:
        wal = Path(f"{self.database}-wal")
        self._limit(wal.stat().st_size)

    def free(self) -> None:
        # A limit dies with its process.
        if self.member.process.popen.poll() is None:
            self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        _, hard = resource.prlimit(self.member.process.popen.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.member.process.popen.pid, resource.RLIMIT_FSIZE, (size, hard))


class SmallDisk(Disk):
    """A file system of some megabytes, and a file that takes all that is left of it."""

    def fill(self) -> None:
        with (self.database.parent / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass

    def free(self) -> None:
        (self.database.parent / "filler").unlink(missing_ok=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Mounts a small file system, where this user may."""
    with ExitStack() as stack:

        def mount() -> Path:
            folder = tmp_path / "disk"
            folder.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
            if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
                pytest.skip("no permission to mount a file system")
            stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
            return folder

        yield mount


@pytest.fixture(params=["a limited file", "a small disk"])
def disk(request: pytest.FixtureRequest, small_disk: Callable[[], Path], team: Team) -> Iterator[Disk]:
    """A server whose disk is not full yet. It has answered some requests."""
    if request.param == "a limited file":
        disk: Disk = LimitedFile(team, team.database)
    else:
        disk = SmallDisk(team, small_disk() / "durable.db")
    # The log has some length, and it is longer than any other file of the server.
    for number in range(MANY):
        assert disk.member.get(f"/chain/before{number}").status_code == 200
    # Nothing is left to be written.
    wait_until(lambda: [run.is_final for run in disk.records.runs()] == [True] * MANY, "all runs to end")
    yield disk
    disk.free()
    team.close()


def test_first_pass_client_whose_run_is_not_on_disk_is_told_to_try_again(disk: Disk) -> None:
    """503 with Retry-After. What its step did is kept all the same, and the run completes without doing it again."""
    disk.fill()
    answer = disk.member.get("/chain/x")
    at_once = disk.member.get("/chain/y")
    begun = disk.outside.counts()
    disk.free()
    wait_until(lambda: len(disk.records.runs()) == MANY + 1, "the run to be written")
    run = disk.records.wait_for_end(disk.records.runs()[-1].id)
    again = disk.member.get("/chain/y")

    for refused in (answer, at_once):
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json() == UNAVAILABLE
    # The second one was refused before its handler was called.
    assert (begun.get("x/one"), begun.get("y/one")) == (1, None)
    assert run.status == "completed"
    assert [disk.outside.counts()[f"x/{key}"] for key in ("one", "two", "three")] == [1, 1, 1]
    assert again.status_code == 200


def test_first_pass_client_whose_run_is_accepted_is_redirected(disk: Disk) -> None:
    """The result of the step that ran stays in memory: its function is not called again, and the run completes."""
    redirect = disk.fill_in_second_step()
    refused = disk.member.get("/chain/y")
    waiting = disk.member.get(redirect.headers["location"], headers={"Prefer": "wait=0"})
    disk.free()
    answer = disk.member.get(redirect.headers["location"])

    assert (redirect.status_code, refused.status_code, waiting.status_code) == (303, 503, 303)
    assert answer.status_code == 200
    assert answer.json() == {key: disk.team.last_token(f"x/{key}") for key in ("one", "two", "three")}
    assert [disk.outside.counts()[f"x/{key}"] for key in ("one", "two", "three")] == [1, 1, 1]


def test_sleeping_run_outlives_a_full_disk(disk: Disk) -> None:
    """A run that is due while nothing can be written goes on when it can."""
    redirect = disk.member.get("/nap/x?pause=300")
    disk.fill()
    wait_until(lambda: disk.member.get("/chain/y").status_code == 503, "the disk to be found full")
    disk.free()
    answer = disk.member.get(redirect.headers["location"])

    assert answer.status_code == 200
    assert disk.outside.counts()["x/one"] == disk.outside.counts()["x/two"] == 1


def test_many_runs_in_flight_outlive_a_full_disk(disk: Disk) -> None:
    """Nothing accepted is lost, no step is done twice, and each client is answered: at once, or by a redirect."""
    with ThreadPoolExecutor(MANY) as threads:
        paths = [f"/{'held' if number % 2 else 'held-first'}/x{number}" for number in range(MANY)]
        asking = [threads.submit(disk.member.get, path) for path in paths]
        wait_until(lambda: len(_begun(disk)) == MANY // 2 * 3, "all steps to begin")
        wait_until(lambda: len(disk.records.runs()) == 2 * MANY, "all runs to be accepted")
        disk.fill()
        disk.outside.open("*")
        redirects = [request.result() for request in asking]
        disk.free()
        locations = [redirect.headers["location"] for redirect in redirects]
        answers = list(threads.map(disk.member.get, locations))

    assert [redirect.status_code for redirect in redirects] == [303] * MANY
    assert [answer.status_code for answer in answers] == [200] * MANY
    assert set(disk.outside.counts().values()) == {1}
    assert {run.status for run in disk.records.runs()} == {"completed"}


def _begun(disk: Disk) -> list[str]:
    return [action for action in disk.outside.counts() if action.startswith("x")]


def test_kill_while_the_disk_is_full_loses_nothing_accepted(disk: Disk) -> None:
    """What was only in memory is gone: the step runs once more. The run, and the steps it had recorded, are there."""
    redirect = disk.fill_in_second_step()
    disk.member.process.kill()
    disk.free()
    _restart(disk.member)
    answer = disk.member.get(redirect.headers["location"])

    assert answer.status_code == 200
    assert answer.json() == {key: disk.team.last_token(f"x/{key}") for key in ("one", "two", "three")}
    assert [disk.outside.counts()[f"x/{key}"] for key in ("one", "two", "three")] == [1, 2, 1]


def _restart(member: Member) -> None:
    member.start()
    member.wait_ready()


def test_stop_while_the_disk_is_full_ends(disk: Disk) -> None:
    """SIGTERM is obeyed within the grace, and the next worker goes on with what was recorded."""
    redirect = disk.fill_in_second_step()
    disk.member.process.terminate()
    disk.member.process.wait()
    disk.free()
    _restart(disk.member)
    answer = disk.member.get(redirect.headers["location"])

    assert answer.status_code == 200
    assert [disk.outside.counts()[f"x/{key}"] for key in ("one", "two", "three")] == [1, 2, 1]


def test_idle_worker_stops_while_the_disk_is_full(disk: Disk) -> None:
    """It cannot even record that it has stopped; the next one finds that out."""
    disk.fill()
    disk.member.process.terminate()
    disk.member.process.wait()
    disk.free()
    _restart(disk.member)

    assert disk.member.get("/chain/x").status_code == 200
    assert len(disk.records.workers()) == 1
