"""Server processes that are forked from one in which everything is imported: each starts in a few milliseconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from testkit import zygote
from testkit.server_process import REPOSITORY, ServerProcess
from testkit.site_process import SiteProcess

_POLL_SECONDS = 0.005
_ENDS_SECONDS = 60


class Zygote:
    """The process that the servers are forked from."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", zygote.__name__],
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ask(self, order: Any) -> Any:
        """Return the answer to an order; see `zygote`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        answer = self._process.stdout.readline()
        assert answer, f"the zygote has ended: {self._process.wait()}"
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_ENDS_SECONDS)
        self._process.stdout.close()


class Fork:
    """A server as `subprocess.Popen` would show it."""

    def __init__(self, zygote: Zygote, order: dict[str, Any]) -> None:
        self.args = order["app"]
        self.pid: int = zygote.ask(order)
        self.returncode: int | None = None
        self._zygote = zygote

    def poll(self) -> int | None:
        """Return how it ended, or None while it lives."""
        if self.returncode is None:
            self.returncode = self._zygote.ask(self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for its end. Raises `subprocess.TimeoutExpired`."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(_POLL_SECONDS)
        return code


class ForkedServer(ServerProcess):
    """
    A server that was forked.

    Args:
        zygote: What it is forked from.
        app: Its application, as ``module:factory``.
        port: Where it listens.
        folder: Where its output goes, and its working directory; the process finds it in FOLDER.
        env: Variables beside that.
    """

    def __init__(
        self, zygote: Zygote, app: str, port: int, folder: Path, env: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._log = folder / "server.log"
        order = {"app": app, "port": port, "folder": str(folder), "env": {**env}}
        self.popen = Fork(zygote, order)  # type: ignore[assignment]

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait for its end."""
        with suppress(ProcessLookupError):
            if self.popen.poll() is None:
                os.kill(self.popen.pid, signal.SIGKILL)
        self.wait()


class ForkedSite(SiteProcess):
    """A server process that is a fork, its database and its outside world."""

    def __init__(self, zygote: Zygote, app: str, folder: Path) -> None:
        self._zygote = zygote
        self._app = app
        super().__init__(lambda port: [], folder)

    def _start(self, *, ready: bool = True) -> ServerProcess:
        process = ForkedServer(self._zygote, self._app, self.port, self.folder)
        if ready:
            process.wait_ready(self.port)
        return process
