"""
Starts servers quickly: everything is imported once, then each server is a fork. A program, run by `forks`.

It reads lines of JSON and answers each with one: ``{"app": "module:factory", "port": …, "folder": …, "env": {…}}``
forks a server and is answered with its process ID; a process ID with how that server ended, as in
`subprocess.Popen.returncode`.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
import waitress


def serve(factory: Callable[[], Any], port: int) -> None:
    """Serve an application in this process, by the server of its framework."""
    app = factory()
    if hasattr(app, "asgi_app"):
        uvicorn.run(app, port=port, log_level="warning")
    else:
        waitress.serve(app, host="127.0.0.1", port=port, threads=16)


def start(order: dict[str, Any]) -> int:
    """Fork a server; return its process ID."""
    module, _, name = order["app"].partition(":")
    factory = getattr(importlib.import_module(module), name)
    if pid := os.fork():
        return pid
    try:
        os.environ.update(order["env"])
        _leave_parent(Path(order["folder"]))
        serve(factory, order["port"])
    finally:
        sys.stderr.flush()
        os._exit(0)


def _leave_parent(folder: Path) -> None:
    """Have a process group, output and input of one's own, as other servers under test have."""
    os.setsid()
    os.chdir(folder)
    os.environ["FOLDER"] = str(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(folder / "server.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)


def how_ended(pid: int) -> int | None:
    """Return how a server ended, or None while it lives."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def main() -> None:
    """Obey the lines on the standard input; at its end, no server is left."""
    living: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if isinstance(order, int):
            answer = how_ended(order)
            if answer is not None:
                living.discard(order)
        else:
            answer = start(order)
            living.add(answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in living:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
