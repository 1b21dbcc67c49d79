"""How fast the fake server is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Seconds before the second, third, ... attempt.
BACKOFF = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 2400.0, 3600.0, 7200.0)


@dataclass(slots=True)
class Pace:
    """
    How fast the server is.

    Attributes:
        tick_seconds: Real seconds between two looks at the queue; 0.15 in the real one.
        backoff: Seconds, by the fake's clock, before the second, third, ... attempt.
        jitter_seconds: Most that is added to them at random; 30 in the real one.
        first_retry_seconds: The same after a step that failed in the sync phase.
        poll_seconds: Real seconds between two looks for the output of a run; 2 in the real one.
        output_seconds: Real seconds after which the output endpoint says that the run goes on; 300 in the real one.
        cache_seconds: Real seconds for which a look at a run is answered with what was seen before; 3 in the real one.
    """

    tick_seconds: float = 0.005
    backoff: Sequence[float] = BACKOFF
    jitter_seconds: float = 0.0
    first_retry_seconds: float = 5.0
    poll_seconds: float = 0.01
    output_seconds: float = 300.0
    cache_seconds: float = 0.0
