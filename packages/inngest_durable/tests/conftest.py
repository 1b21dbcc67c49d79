"""What all tests of the package have in common."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from testkit.pauses import count_from_disk


def pytest_configure() -> None:
    """Take SIGINT as from a terminal: a shell that starts the tests in the background lets it be ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _pauses_count_from_disk() -> Iterator[None]:
    """A client whose run is to wait is redirected, however long it takes to write that down."""
    with pytest.MonkeyPatch.context() as patches:
        count_from_disk(patches)
        yield
