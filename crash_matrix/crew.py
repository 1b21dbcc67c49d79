"""The server processes of one play: they die by themselves, or are killed, and are started again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

from crash_matrix import app
from crash_matrix.cells import Cell
from testkit.forks import ForkedServer, Zygote
from testkit.ports import free_port
from testkit.waiting import wait_until

_ENDS_SECONDS = 60


class Member:
    """
    A server process on a port of its own, started again and again.

    Attributes:
        url: Where it listens.
        pids: Of its processes, the one that runs now or ran last at the end.
    """

    def __init__(self, zygote: Zygote, cell: Cell, folder: Path) -> None:
        self._zygote = zygote
        self._folder = folder
        self._app = f"{app.__name__}:create_{cell.adapter}_app"
        self._env = {"PATTERN": cell.pattern.name}
        self._port = free_port()
        self._process: ForkedServer | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.pids: list[int] = []

    @property
    def pid(self) -> int:
        """The process that runs now, or ran last."""
        return self.pids[-1]

    def start(self, env: Mapping[str, str]) -> None:
        """Start a process."""
        self._process = ForkedServer(self._zygote, self._app, self._port, self._folder, {**self._env, **env})
        self.pids.append(self._process.popen.pid)

    def wait_ready(self) -> None:
        """Return when it listens."""
        assert self._process is not None
        self._process.wait_ready(self._port)

    def code(self) -> int | None:
        """Return how its process has ended, or None while it lives."""
        return None if self._process is None else self._process.popen.poll()

    def kill(self) -> None:
        """End its process, if it lives."""
        if self._process is not None:
            self._process.kill()


class Crew:
    """
    The workers of one play. Who has died stays dead while another one lives.

    Args:
        zygote: What the processes are forked from.
        cell: What is played.
        folder: Which they share.

    Attributes:
        deaths: The process IDs of the dead, each with how it ended.
    """

    def __init__(self, zygote: Zygote, cell: Cell, folder: Path) -> None:
        self.members = [Member(zygote, cell, folder) for _ in range(cell.workers)]
        self.deaths: dict[int, int] = {}
        self._point = cell.point
        # Clients look for somebody who lives while the play attends to the dead.
        self._lock = threading.RLock()

    def start(self) -> None:
        """Start all of them, and return when they listen."""
        for number, member in enumerate(self.members):
            member.start(self._point.env if number == 0 else {})
        for member in self.members:
            member.wait_ready()

    def living(self) -> list[Member]:
        """Return those that have not died."""
        with self._lock:
            return [member for member in self.members if not self._note_end(member)]

    def attend(self) -> None:
        """Start them again when nobody is left; one that is to be of the next version at once."""
        with self._lock:
            living = self.living()
            if not living or "MIGRATES" in self._point.env_again:
                self.start_dead()

    def start_dead(self) -> None:
        """Start those that have died, unless there were more deaths than there can be."""
        with self._lock:
            if len(self.deaths) <= self._point.deaths:
                for member in self.members:
                    if self._note_end(member):
                        member.start(self._point.env_again)

    def kill(self, pid: int) -> None:
        """Kill the process of one of them with SIGKILL, and wait for its end."""
        (member,) = (member for member in self.members if member.pid == pid)
        os.kill(pid, signal.SIGKILL)
        # Not whether the member lives: it may have been started again by now.
        wait_until(lambda: self._note_end(member) or pid in self.deaths, f"process {pid} to end", _ENDS_SECONDS)

    def close(self) -> None:
        """End all of them."""
        for member in self.members:
            member.kill()

    def _note_end(self, member: Member) -> bool:
        with self._lock:
            code = member.code()
            if code is not None:
                self.deaths[member.pid] = code
            return code is not None
