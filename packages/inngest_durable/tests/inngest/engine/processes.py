"""The application in a process of its own, on a fake server of the test's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx

from packages.inngest_durable.tests.inngest.fake_pace import Pace
from packages.inngest_durable.tests.inngest.fake_server import FakeInngest
from testkit.outside import Outside
from testkit.ports import free_port
from testkit.server_process import ServerProcess, uvicorn_command

_APPLICATION = "packages.inngest_durable.tests.inngest.engine.application:create_app"
_LATER_SECONDS = 2 * 3600


class RigProcess:
    """
    The application, served by uvicorn, or by waitress for Flask.

    Args:
        folder: Where its outside world is.
        web: The framework's name.
        **options: Options of the engine.
    """

    def __init__(self, folder: Path, web: str, **options: Any) -> None:
        # A server that comes back at once to an application that was down.
        self.fake = FakeInngest(pace=Pace(backoff=(0.05,)))
        self.outside = Outside(folder)
        self._folder = folder
        self._port = free_port()
        self._ahead = 0.0
        # Longer than any pause of a busy machine: a pass that has lost its lease goes on in a dispatch.
        self._options = {"is_dev": True, "base_url": self.fake.url, "lease": "1h", "shutdown_grace": "1s", **options}
        self._command = uvicorn_command(_APPLICATION, self._port)
        if web == "flask":
            self._command = [
                sys.executable,
                "-m",
                "waitress",
                f"--listen=127.0.0.1:{self._port}",
                "--call",
                _APPLICATION,
            ]
        self._env = {"FOLDER": str(folder), "OPTIONS": json.dumps(self._options), "WEB": web}
        self.process = self.start()

    def start(self) -> ServerProcess:
        """Start the application."""
        self.process = ServerProcess(self._command, self._folder, {**self._env, "AHEAD": str(self._ahead)})
        self.process.wait_ready(self._port)
        return self.process

    def start_later(self) -> None:
        """Start the application again, when the lease of every pass of the one before has ended."""
        self._ahead += _LATER_SECONDS
        self.start()
        self.fake.advance(_LATER_SECONDS)

    def ask(self, path: str) -> httpx.Response | None:
        """Make a request; None if the process dies in it."""
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}{path}", timeout=20, trust_env=False, verify=False)
        except httpx.TransportError:
            return None

    def close(self) -> None:
        """End both."""
        self.outside.open("*")
        self.process.kill()
        self.fake.stop()
