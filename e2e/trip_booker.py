"""
The trip booker as its users run it: `python -m trip_booker`, the app under its supervisor, or the app alone.

Or with a third party of a test's own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from trip_booker.world import World

from testkit.ports import free_port
from testkit.processes import Process, answer_status

ROOT = Path(__file__).parents[1]

SUPERVISED = ("trip_booker",)
# Not restarted when it is killed: `start` does that.
ALONE = ("trip_booker", "serve")
# See there.
CHATTY = ("e2e.chatty_app",)


class TripBooker:
    """
    One running app with its own port, engine file and outside world below *folder*.

    Args:
        folder: Where the files are, and the log.
        program: The module to run, and its arguments.
        speed: Factor on the latency of the third parties; 0 for none.
    """

    def __init__(self, folder: Path, *, program: Sequence[str] = SUPERVISED, speed: float = 0) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.engine = folder / "durable.db"
        self.world = World(folder / "world.db")
        self._folder = folder
        self.command = [sys.executable, "-m", *program]
        self._environment = {
            "PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
            "INNGEST_DURABLE_DB": str(self.engine),
            "TRIP_BOOKER_WORLD": str(self.world.path),
            "TRIP_BOOKER_SPEED": str(speed),
        }
        self.start()

    def start(self) -> None:
        """Start it, on the same port and files as before."""
        log = self._folder / "trip_booker.log"
        self._process = Process(self.command, env=self._environment, cwd=self._folder, log=log)

    @property
    def output(self) -> str:
        """What supervisor and app have printed so far."""
        return self._process.output

    def wait_ready(self) -> None:
        """Return when the app answers."""
        self._process.wait_ready(self.answers)

    def answers(self) -> bool:
        """Tell whether the app answers at this moment."""
        return answer_status(self.port) == 200

    def kill(self) -> None:
        """Kill everything that was started, as a power cut would."""
        self._process.kill()

    def stop(self) -> None:
        """End supervisor and app."""
        self._process.stop()

    def outcomes(self, booking_id: str, service: str, action: str) -> list[str]:
        """Return what a third party did at each call for a booking, oldest first, read from its own memory."""
        calls = self.world.calls(booking_id)
        return [call.outcome for call in calls if (call.service, call.action) == (service, action)]

    def processes_of(self, booking_id: str) -> set[int]:
        """Return the IDs of the app's processes that called third parties for a booking."""
        return {call.pid for call in self.world.calls(booking_id)}
