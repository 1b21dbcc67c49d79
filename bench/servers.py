"""The servers under load: uvicorn with uvloop and httptools, one process each, on the loopback interface."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx

from e2e.processes import Process, free_port

ROOT = Path(__file__).resolve().parent.parent


class Server:
    """One app of `bench.app` in a server process, from `with` to its end."""

    def __init__(self, app: str, *, database: Path | None, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/booking"
        command = [
            *(sys.executable, "-m", "uvicorn", f"bench.app:{app}"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--loop", "uvloop", "--http", "httptools"),
            *("--log-level", "warning", "--no-access-log"),
        ]
        env = {"INNGEST_DURABLE_DB": str(database)} if database else {}
        self._process = Process(command, env=env, cwd=ROOT, log=folder / f"{app}-{port}.log")

    def __enter__(self) -> Self:
        try:
            self._process.wait_ready(self._accepts)
            answer = httpx.get(self.url, timeout=10)
            if answer.status_code != 200:
                raise RuntimeError(f"{self.url} answered {answer.status_code}:\n{self._process.output}")
        except BaseException:
            self._process.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def _accepts(self) -> bool:
        parts = urlsplit(self.url)
        try:
            socket.create_connection((parts.hostname, parts.port), timeout=1).close()
        except OSError:
            return False
        return True
