"""The fake server's time: real time, faster time, or time that moves on command only."""

from __future__ import annotations

import time
from collections.abc import Callable


class FakeClock:
    """
    Seconds since the epoch, for queue, waits and tokens.

    Args:
        scale: Seconds that pass in a real second; with 0 the clock moves by `advance` only.
        source: Another clock to follow, such as that of the SDK under test; *scale* is then not used.
    """

    def __init__(self, scale: float = 1.0, source: Callable[[], float] | None = None) -> None:
        self._scale = scale
        self._source = source
        self._start = time.time()
        self._began = time.monotonic()
        self._ahead = 0.0

    def now(self) -> float:
        """Return the current time."""
        if self._source is not None:
            return self._source() + self._ahead
        return self._start + (time.monotonic() - self._began) * self._scale + self._ahead

    def advance(self, seconds: float) -> None:
        """Move on by *seconds*; whatever is due then is dispatched at the queue's next look."""
        self._ahead += seconds
