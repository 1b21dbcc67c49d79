"""
Real server processes: each in a process group of its own, awaited by condition, ended with its children and no others.

Output goes to a file, so that a failed test can show it and no pipe ever fills up.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import psutil

from testkit.waiting import PATIENCE_SECONDS, wait_until

OUTPUT_SHOWN = 20_000


def answer_status(port: int, path: str = "/", *, timeout_seconds: float = 5) -> int | None:
    """
    Return the status of the answer that a server of this machine gives to a GET; None if there is no answer.

    It is asked again and again while servers start, so it is one socket and nothing else: `httpx.get` reads the
    certificates of the whole world each time.
    """
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


def run_bounded(*command: str, timeout_seconds: float, env: Mapping[str, str] | None = None) -> bool:
    """Run *command* to its end, its output shown, and tell whether it succeeded within its time."""
    print(f"$ {' '.join(command)}", file=sys.stderr, flush=True)
    popen = subprocess.Popen(
        command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
    )
    try:
        return popen.wait(timeout_seconds) == 0
    except subprocess.TimeoutExpired:
        # An installer works in children of its own: the group ends, not only its first process.
        os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()
        return False


def install_debian_package(name: str) -> bool:
    """Install *name* with apt-get and tell whether that worked; on other systems, or if not root, do nothing."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run_bounded("apt-get", "-qq", "update", timeout_seconds=120, env=env)
    install = ("apt-get", "-qq", "-o", "Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends", name)
    return run_bounded(*install, timeout_seconds=420, env=env)


class Process:
    """A command that runs in its own process group until it is stopped."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.command = list(command)
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.command,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What the process and its children have printed so far; of a long text, the end."""
        return self.log.read_text(errors="replace")[-OUTPUT_SHOWN:]

    @property
    def pid(self) -> int:
        """ID of the process that was started."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the process that was started has not ended yet."""
        if self._popen.returncode is not None:
            return False
        # The ended process stays unreaped: until then nobody else can get the number of its group.
        return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait_ready(self, ready: Callable[[], bool], *, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Return when *ready* says so; fail with the output if the process ends first or the time is up."""

        def ready_or_ended() -> bool:
            return not self.running or ready()

        try:
            wait_until(ready_or_ended, f"{self.command} to be ready", timeout_seconds=timeout_seconds)
        except TimeoutError as error:
            error.add_note(self.output)
            raise
        if not self.running:
            raise RuntimeError(f"{self.command} ended before it was ready:\n{self.output}")

    def kill(self) -> None:
        """End it and all below it by SIGKILL, as a power cut would, and return when its first process is gone."""
        if self._popen.returncode is not None:
            return
        # What a supervisor starts has a group of its own, and would end in good order when it misses the supervisor.
        below = psutil.Process(self.pid).children(recursive=True)
        self._signal_group(signal.SIGKILL)
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._popen.wait()

    def stop(self, *, timeout_seconds: float = 15) -> None:
        """Ask the group to end, then kill what is left of it. Stopping twice is harmless."""
        if self._popen.returncode is not None:
            return
        self._signal_group(signal.SIGTERM)
        with suppress(TimeoutError):
            wait_until(lambda: not self.running, "the process to end", timeout_seconds=timeout_seconds)
        self.kill()

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: PermissionError for a group of zombies
            os.killpg(self._popen.pid, number)
