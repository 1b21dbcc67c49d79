"""What all tests of the package have in common."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Take SIGINT as from a terminal: a shell that starts the tests in the background lets it be ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
