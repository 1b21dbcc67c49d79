"""The supervisor as a process of its own, with small children that live and die as the test needs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from testkit.waiting import wait_until

SUPERVISE = """\
import sys
from trip_booker import supervisor
from trip_booker.supervisor import Supervisor

supervisor.SHORT_LIFE_SECONDS = float(sys.argv[2])
sys.exit(Supervisor([sys.executable, "-c", sys.argv[1]], report=lambda sentence: print(sentence, flush=True)).run())
"""

# Each child appends its process ID to the file `children`, so that the test can see and signal it.
NOTE_PID = """\
import os, signal, sys
with open("children", "a") as children:
    children.write(f"{os.getpid()}\\n")
"""
READ_UNTIL_END_OF_INPUT = "sys.stdin.read()\n"
# Blocked signals wait for `sigwait`: `pause` would miss one that comes just before it.
EXIT_IN_ORDER_ON_SIGTERM = """\
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("child is ready", flush=True)
signal.sigwait([signal.SIGTERM])
print("child leaves in order", flush=True)
"""
IGNORE_SIGTERM = """\
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("child is ready", flush=True)
while True:
    signal.sigwait([signal.SIGTERM])
    print("child does not care", flush=True)
"""


class Supervised:
    """A supervisor with the child program *child*, working in *folder*, which pauses for *pause* seconds."""

    def __init__(self, folder: Path, child: str, pause: float) -> None:
        self._folder = folder
        self._log = folder / "log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISE, NOTE_PID + child, str(pause)],
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def children(self) -> list[int]:
        noted = self._folder / "children"
        return [int(line) for line in noted.read_text().splitlines()] if noted.exists() else []

    def wait_for_output(self, text: str) -> None:
        wait_until(lambda: text in self.output, f"the output {text!r}")

    def wait_for_children(self, number: int) -> None:
        wait_until(lambda: len(self.children) == number, f"{number} children")


class Start(Protocol):
    """Starts a supervisor with this child program."""

    def __call__(self, child: str, *, pause: float = 0.1) -> Supervised: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Supervised] = []

    def start(child: str, *, pause: float = 0.1) -> Supervised:
        started.append(Supervised(tmp_path, child, pause))
        return started[-1]

    yield start
    for supervised in started:
        supervised.process.kill()
        supervised.process.wait()


def is_alive(pid: int) -> bool:
    """Tell whether the process *pid* still runs; one that has ended but was not waited for does not."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()[:1] not in ("", "Z")


def test_killed_child_is_started_again(start: Start) -> None:
    """SIGKILL costs the child its life, and gets it a successor."""
    supervised = start(READ_UNTIL_END_OF_INPUT)
    supervised.wait_for_children(1)
    os.kill(supervised.children[0], signal.SIGKILL)
    supervised.wait_for_children(2)

    assert supervised.process.poll() is None
    assert "killed by SIGKILL" in supervised.output


@pytest.mark.parametrize("code", [0, 3])
def test_child_that_exits_by_itself_is_not_started_again(start: Start, code: int) -> None:
    """The supervisor ends with the child's exit code, and says so if it was an error."""
    supervised = start(f"sys.exit({code})\n")

    assert supervised.process.wait(timeout=20) == code
    assert len(supervised.children) == 1
    assert ("exited by itself with code 3" in supervised.output) == (code == 3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_is_passed_on_and_waited_for(start: Start, number: signal.Signals) -> None:
    """The child gets the signal, may end in order, and is not started again."""
    supervised = start(EXIT_IN_ORDER_ON_SIGTERM.replace("SIGTERM", number.name))
    supervised.wait_for_output("child is ready")
    supervised.process.send_signal(number)

    assert supervised.process.wait(timeout=20) == 0
    assert "child leaves in order" in supervised.output
    assert len(supervised.children) == 1


def test_second_signal_kills_a_child_that_does_not_listen(start: Start) -> None:
    """Who asks twice does not wait any longer."""
    supervised = start(IGNORE_SIGTERM)
    supervised.wait_for_output("child is ready")
    supervised.process.terminate()
    supervised.wait_for_output("child does not care")
    supervised.process.terminate()

    assert supervised.process.wait(timeout=20) == 0
    assert not is_alive(supervised.children[0])


def test_signal_ends_the_pause_before_a_restart(start: Start) -> None:
    """A child that dies at once is not started again for somebody who asked to stop."""
    supervised = start("os.kill(os.getpid(), signal.SIGKILL)\n", pause=60)
    supervised.wait_for_output("Starting it again")
    supervised.process.terminate()

    assert supervised.process.wait(timeout=20) == 0
    assert len(supervised.children) == 1


def test_child_does_not_outlive_a_killed_supervisor(start: Start) -> None:
    """When the supervisor is killed, the child's input ends, which tells it to stop."""
    supervised = start(READ_UNTIL_END_OF_INPUT)
    supervised.wait_for_children(1)
    supervised.process.kill()
    supervised.process.wait()

    wait_until(lambda: not is_alive(supervised.children[0]), "the child to end")
