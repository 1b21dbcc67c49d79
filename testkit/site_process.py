"""An application in a server process that the test ends and starts again, on the same port and folder."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from testkit.outside import Outside
from testkit.ports import free_port
from testkit.records import Records, database_of
from testkit.server_process import ServerProcess
from testkit.waiting import PATIENCE_SECONDS


class SiteProcess:
    """
    A server process, its database and its outside world.

    Args:
        command: Gives the command line for a port. The process finds its folder in FOLDER.
        folder: Where everything is kept.

    Attributes:
        process: The server that runs now, or ran last.
    """

    def __init__(self, command: Callable[[int], list[str]], folder: Path) -> None:
        self.folder = folder
        self.outside = Outside(folder)
        self.records = Records(database_of(folder))
        self.port = free_port()
        self._command = command(self.port)
        self.process = self._start()

    def restart(self, *, ready: bool = True) -> None:
        """Start the server again after its end, and wait until it listens. Nothing is asked of the application."""
        self.process = self._start(ready=ready)

    @contextmanager
    def request(self, path: str) -> Iterator[socket.socket]:
        """Send a request, and cut its connection at the end."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            yield connection

    def get(self, path: str) -> httpx.Response:
        """GET *path* without following a redirect."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=20, trust_env=False, verify=False)

    def close(self) -> None:
        """End it."""
        self.outside.open("*")
        self.process.kill()

    def _start(self, *, ready: bool = True) -> ServerProcess:
        process = ServerProcess(self._command, self.folder, {"FOLDER": str(self.folder)})
        if not ready:
            return process
        try:
            process.wait_ready(self.port)
        except BaseException:
            process.kill()
            raise
        return process


@contextmanager
def waiter(site: SiteProcess, asleep: str) -> Iterator[Callable[[], bytes]]:
    """Hold a request at the wait URL of a run of *asleep*, which sleeps; gives a function that returns its answer."""
    location = site.get(asleep).headers["location"]
    with site.request(location) as connection:
        Outside(site.folder / "visits").wait_for(location.split("?")[0])
        yield lambda: connection.recv(4096)
