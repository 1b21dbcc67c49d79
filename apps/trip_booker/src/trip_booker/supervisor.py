"""Restarts the serving process when it is killed, as systemd, Docker or Kubernetes do for a real app."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from types import FrameType

# A process that is killed sooner than this after its start is restarted after a pause of the same length.
SHORT_LIFE_SECONDS = 1.0


class Supervisor:
    """
    Keeps one child process running.

    A child that a signal killed is started again. A child that exits by itself is not: it said why, and would only
    say it again. SIGINT and SIGTERM are passed on, and then the supervisor ends with its child; the second one kills.

    Args:
        command: What to run. It gets a pipe as standard input, which is closed when the supervisor is gone.
        report: Called with each sentence for the person at the terminal.
    """

    def __init__(self, command: Sequence[str], report: Callable[[str], None]) -> None:
        self._command = command
        self._report = report
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: signal.Signals | None = None

    def run(self) -> int:
        """Run until the child exits by itself or a signal asks to stop. Return the exit code to end with."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        while True:
            started = time.monotonic()
            code = self._run_child()
            if self._asked:
                # Ended as it was asked to, whether by itself or by the signal.
                return max(code, 0)
            if code >= 0:
                if code:
                    self._report(f"The server exited by itself with code {code}; its own message is above.")
                return code
            self._report(f"The server was killed by {_signal_name(-code)}. Starting it again.")
            if time.monotonic() - started < SHORT_LIFE_SECONDS:
                time.sleep(SHORT_LIFE_SECONDS)

    def _run_child(self) -> int:
        if self._asked:
            return 0
        # A process group of its own: Ctrl-C reaches the supervisor alone, and the child gets each signal once.
        with subprocess.Popen(self._command, stdin=subprocess.PIPE, process_group=0) as child:
            self._child = child
            if self._asked:
                # The signal came while the child was being started, and found nobody to be passed on to.
                child.send_signal(self._asked)
            return child.wait()

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        first = self._asked is None
        self._asked = signal.Signals(number)
        if self._child is not None:
            self._child.send_signal(self._asked if first else signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
