"""The servers under load, one process each, on the loopback interface: uvicorn for Quart, gunicorn for Flask."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import httpx

from testkit.ports import accepts, free_port
from testkit.processes import Process

ROOT = Path(__file__).resolve().parent.parent


THREADS = 32

# Makes the command that serves an app on a port.
Serve = Callable[[str, int], list[str]]


def uvicorn(app: str, port: int, module: str = "app") -> list[str]:
    """Return the command that serves an app of a module of `bench`."""
    return [
        *(sys.executable, "-m", "uvicorn", f"bench.{module}:{app}"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools"),
        *("--log-level", "warning", "--no-access-log"),
    ]


def gunicorn(app: str, port: int) -> list[str]:
    """Return the command that serves an app of `bench.flask_app`, with a thread for each of 32 connections."""
    return [
        *(sys.executable, "-m", "gunicorn", f"bench.flask_app:{app}"),
        *("--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--threads", str(THREADS)),
        *("--log-level", "warning"),
    ]


class Server:
    """
    One app in a server process, from `with` to its end.

    Args:
        app: Its name in the module that *serve* serves.
        serve: The server.
        database: Where its runs are, if it has any.
        folder: Where to keep its log.
    """

    def __init__(self, app: str, *, database: Path | None, folder: Path, serve: Serve = uvicorn) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/booking"
        command = serve(app, self._port)
        env = {"INNGEST_DURABLE_DB": str(database)} if database else {}
        self._process = Process(command, env=env, cwd=ROOT, log=folder / f"{app}-{self._port}.log")

    def __enter__(self) -> Self:
        try:
            self._process.wait_ready(lambda: accepts(self._port))
            answer = httpx.get(self.url, timeout=10)
            if answer.status_code != 200:
                raise RuntimeError(f"{self.url} answered {answer.status_code}:\n{self._process.output}")
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
