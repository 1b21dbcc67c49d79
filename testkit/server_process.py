"""Real servers in processes of their own, which can be killed and told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from testkit.ports import accepts
from testkit.waiting import PATIENCE_SECONDS, wait_until

REPOSITORY = Path(__file__).parents[1]


class ServerProcess:
    """
    A server in a process group of its own, ended as that group and nothing else.

    Args:
        command: What to run.
        folder: Where its output goes, and its working directory.
        env: Variables beside those of this process.

    Attributes:
        popen: The process that was started.
    """

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self._log = folder / "server.log"
        folder.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._log.open("ab") as output:
            self.popen = subprocess.Popen(
                [*command],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def wait_ready(self, port: int) -> None:
        """Return when it accepts connections on *port*."""
        try:
            wait_until(lambda: accepts(port) or self.popen.poll() is not None, f"{self.popen.args!r} to listen")
        except TimeoutError as error:
            error.add_note(self.output)
            raise
        if self.popen.poll() is not None:
            raise RuntimeError(f"{self.popen.args!r} ended before it was ready:\n{self.output}")

    def kill(self) -> None:
        """Kill the group with SIGKILL, and wait for its end."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(PATIENCE_SECONDS)

    def terminate(self, *, group: bool = False) -> None:
        """Send SIGTERM to the process that was started, as a supervisor does, or to its group, as some do."""
        (os.killpg if group else os.kill)(self.popen.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Wait for the end of the process and return its exit code."""
        try:
            return self.popen.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired as error:
            error.add_note(self.output)
            raise


def uvicorn_command(application: str, port: int, *options: str) -> list[str]:
    """Return the command line of uvicorn for an application factory."""
    return [sys.executable, "-m", "uvicorn", application, "--factory", "--port", str(port), *options]


def hypercorn_command(application: str, port: int, *options: str) -> list[str]:
    """Return the command line of hypercorn for an application factory."""
    return [sys.executable, "-m", "hypercorn", f"{application}()", "--bind", f"127.0.0.1:{port}", *options]


def gunicorn_command(application: str, port: int, *options: str) -> list[str]:
    """Return the command line of gunicorn for an application factory, as the documentation shows it."""
    config = str(Path(__file__).with_name("gunicorn_conf.py"))
    return [
        *(sys.executable, "-m", "gunicorn", f"{application}()", "--bind", f"127.0.0.1:{port}", "--config", config),
        *("--worker-class", "gthread", "--threads", "4", *options),
    ]
