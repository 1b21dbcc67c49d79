"""Restarts the serving process when it is killed, as systemd, Docker or Kubernetes do for a real app."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Self

# A process that is killed sooner than this after its start is restarted after a pause of the same length.
SHORT_LIFE_SECONDS = 1.0


class Supervisor:
    """
    Keeps one child process running.

    A child killed by a signal is started again. A child that exits by itself is not: it has said why, and would only
    say it again. SIGINT and SIGTERM are passed on, and then the supervisor ends with its child; a second one kills.

    Args:
        command: What to run. It gets a pipe as standard input, which is closed when the supervisor is gone.
        report: Called with each sentence for the person at the terminal.
    """

    def __init__(self, command: Sequence[str], report: Callable[[str], None]) -> None:
        self._command = command
        self._report = report
        self._asked = False

    def run(self) -> int:
        """Run until the child exits by itself or a signal asks to stop. Return the exit code to end with."""
        with _Signals() as signals:
            while True:
                started = time.monotonic()
                code = self._run_child(signals)
                if self._asked:
                    # Ended as it was asked to, whether by itself or by the signal.
                    return max(code, 0)
                if code >= 0:
                    if code:
                        self._report(f"The server exited by itself with code {code}; its own message is above.")
                    return code
                self._report(f"The server was killed by {_signal_name(-code)}. Starting it again.")
                if time.monotonic() - started < SHORT_LIFE_SECONDS and signals.ask_within(SHORT_LIFE_SECONDS):
                    return 0

    def _run_child(self, signals: _Signals) -> int:
        # A process group of its own: Ctrl-C reaches the supervisor alone, and the child gets each signal once.
        with subprocess.Popen(self._command, stdin=subprocess.PIPE, process_group=0) as child:
            while (code := child.poll()) is None:
                number = signals.wait()
                if number != signal.SIGCHLD:
                    child.send_signal(signal.SIGKILL if self._asked else number)
                    self._asked = True
            return code


class _Signals:
    """
    The signals that came, in order, each until it is asked for.

    A handler could not wake `waitpid`: a signal that comes in the last moment before that call sleeps would be handled
    when the call is over. What is written into a pipe stays there until it is read.
    """

    def __enter__(self) -> Self:
        self._received, received = os.pipe()
        os.set_blocking(received, False)
        signal.set_wakeup_fd(received)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            # Without a handler, Python has nothing to note.
            signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(signal.set_wakeup_fd(-1))
        os.close(self._received)

    def wait(self) -> signal.Signals:
        return signal.Signals(os.read(self._received, 1)[0])

    def ask_within(self, seconds: float) -> bool:
        """Return whether a signal that asks to stop comes within this time."""
        end = time.monotonic() + seconds
        while select.select([self._received], [], [], max(end - time.monotonic(), 0))[0]:
            if self.wait() != signal.SIGCHLD:
                return True
        return False


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
