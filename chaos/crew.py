"""The workers: two frameworks, several processes, one file. They are forked, so each starts in some milliseconds."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

from testkit.forks import ForkedServer, Zygote
from testkit.ports import accepts, free_port
from testkit.waiting import wait_until

FRAMEWORKS = ("quart", "flask")
# Not the module itself: it is imported by the workers alone.
APP = "chaos.app"


class SharedZygote(Zygote):
    """The process that servers are forked from, for several threads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        super().__init__()

    def ask(self, order: Any) -> Any:
        """Return the answer to an order."""
        with self._turn:
            return super().ask(order)

    def close(self) -> None:
        """End it, by force if the machine is too busy for its own end."""
        try:
            super().close()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class State(Enum):
    """What a worker is doing, as far as its supervisor knows."""

    STARTING = "starting"
    UP = "up"
    ENDING = "ending"
    DOWN = "down"


class Worker:
    """
    A server process and its successors, on one port.

    Args:
        zygote: What it is forked from.
        framework: One of `FRAMEWORKS`.
        name: In the plan and the report.
        folder: Of all workers on its database.

    Attributes:
        state: What it is doing.
        since: When it was started; written, as all of these, by who changes it.
        restart_seconds: While it is ending, how long after its end it is started again.
    """

    def __init__(self, zygote: Zygote, framework: str, name: str, folder: Path) -> None:
        self.name = name
        self.framework = framework
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = State.DOWN
        self.since = 0.0
        self.restart_seconds = 0.0
        self._zygote = zygote
        self._folder = folder
        self._server: ForkedServer | None = None

    @property
    def pid(self) -> int:
        """The process that runs now, or ran last."""
        return self._running().popen.pid

    @property
    def has_ended(self) -> bool:
        """Whether that process has ended."""
        return self._running().popen.poll() is not None

    @property
    def is_listening(self) -> bool:
        """Whether it takes connections."""
        return accepts(self.port, timeout_seconds=0.2)

    def start(self) -> None:
        """Start a process, without waiting for it."""
        self._server = ForkedServer(self._zygote, f"{APP}:create_{self.framework}_app", self.port, self._folder)

    def wait_ready(self, timeout_seconds: float = 30) -> None:
        """Return when it takes connections. Raises `TimeoutError`, `RuntimeError` if it ends."""
        wait_until(
            lambda: self.has_ended or self.is_listening, f"{self.name} to listen", timeout_seconds=timeout_seconds
        )
        if self.has_ended:
            raise RuntimeError(f"{self.name} has ended:\n{self._running().output[-2000:]}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it by SIGKILL, and wait for its end; harmless if it has none, or has ended."""
        if self._server is not None:
            self._server.kill()

    def _running(self) -> ForkedServer:
        assert self._server is not None, f"{self.name} was never started"
        return self._server


class Crew:
    """
    All workers on one folder.

    Args:
        zygote: What they are forked from.
        folder: Where everything is kept.
        each: Workers of each framework.
    """

    def __init__(self, zygote: Zygote, folder: Path, each: int) -> None:
        self.workers = [
            Worker(zygote, framework, f"{framework}-{number}", folder)
            for framework in FRAMEWORKS
            for number in range(1, each + 1)
        ]

    def __iter__(self) -> Iterator[Worker]:
        return iter(self.workers)

    def __getitem__(self, name: str) -> Worker:
        return next(worker for worker in self.workers if worker.name == name)

    def of(self, framework: str) -> list[Worker]:
        """Return the workers of one framework."""
        return [worker for worker in self.workers if worker.framework == framework]

    def start(self) -> None:
        """Start all of them, and return when they take connections."""
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.wait_ready()
            worker.state = State.UP

    def kill(self) -> None:
        """End all of them."""
        for worker in self.workers:
            worker.kill()
