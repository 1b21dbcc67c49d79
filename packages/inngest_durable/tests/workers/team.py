"""Several worker processes on one database, which the test kills and starts again."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from packages.inngest_durable.tests.workers import workers_app
from testkit.outside import Outside
from testkit.ports import free_port
from testkit.records import Records, database_of
from testkit.server_process import ServerProcess, hypercorn_command, uvicorn_command

APP = f"{workers_app.__name__}:create_app"
COMMANDS: dict[str, Callable[[int], list[str]]] = {
    "uvicorn": lambda port: uvicorn_command(APP, port),
    "uvicorn --workers 2": lambda port: uvicorn_command(APP, port, "--workers", "2"),
    # Without a master process, which would outlive the one that is killed.
    "hypercorn": lambda port: hypercorn_command(APP, port, "--workers", "0"),
}
WAITS_SECONDS = 30


class Member:
    """
    A server process on a port of its own.

    Args:
        folder: Of the team.
        server: One of `COMMANDS`.
        env: Variables beside FOLDER.

    Attributes:
        process: The server that runs now, or ran last.
        url: Where it listens.
        port: The port of that.
    """

    def __init__(self, folder: Path, server: str, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = {"FOLDER": str(folder), **env}
        self.port = free_port()
        self._command = COMMANDS[server](self.port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start the server, again or for the first time."""
        self.process = ServerProcess(self._command, self._folder, self._env)

    def wait_ready(self) -> None:
        """Return when it listens."""
        self.process.wait_ready(self.port)

    def kill(self) -> None:
        """End it."""
        self.process.kill()

    def restart_if_dead(self) -> None:
        """Do what a supervisor does."""
        if self.process.popen.poll() is not None:
            self.start()

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET *path* without following a redirect."""
        return httpx.get(f"{self.url}{path}", trust_env=False, **{"timeout": WAITS_SECONDS, **options})


class Team:
    """
    Workers that share a folder.

    Args:
        folder: Where everything is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = database_of(folder)
        self.outside = Outside(folder)
        self.records = Records(self.database)
        self._stack = ExitStack()

    def start(self, count: int = 1, server: str = "uvicorn", **env: str) -> list[Member]:
        """Start that many servers and wait until all of them listen."""
        members = []
        for _ in range(count):
            member = Member(self.folder, server, env)
            self._stack.callback(member.kill)
            members.append(member)
        for member in members:
            member.wait_ready()
        return members

    def owners(self) -> dict[int, int]:
        """Return how many running runs each worker process has."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5)) as db:
            query = "SELECT workers.pid, count(*) FROM runs JOIN workers ON owner = workers.id GROUP BY workers.pid"
            return dict(db.execute(query).fetchall())

    def check_steps(self) -> int:
        """
        Check the effects of every step there is; return how many were executed more than once.

        The last execution is the one that is memoized: so a step that was completed was never executed again.
        """
        executions: dict[str, list[str]] = {}
        for call in self.outside.calls():
            executions.setdefault(call["action"], []).append(call["token"])
        memoized = {result for run in self.records.runs() for result in self._results(run.id)}

        for action, tokens in executions.items():
            assert tokens[-1] in memoized, action
            assert memoized.isdisjoint(tokens[:-1]), action
        return sum(len(tokens) > 1 for tokens in executions.values())

    def last_token(self, action: str) -> str:
        """Return the token of the last execution of *action*."""
        token: str = self.outside.calls(action)[-1]["token"]
        return token

    def close(self) -> None:
        """End every server."""
        self.outside.open("*")
        self._stack.close()

    def _results(self, run_id: str) -> set[str]:
        return {(record.result or "").strip('"') for record in self.records.steps(run_id).values()}


def kill(pid: int) -> None:
    """Kill one process with SIGKILL."""
    os.kill(pid, signal.SIGKILL)


@contextmanager
def request(member: Member, path: str) -> Iterator[socket.socket]:
    """Send a request, and cut its connection at the end."""
    with socket.create_connection(("127.0.0.1", member.port), timeout=20) as found:
        found.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        yield found
