"""
Help for testing code that uses this package: time that moves on command, a store without a file, and crash points.

::

    clock = VirtualClock()
    engine = EmbeddedEngine(store=MemoryStore(), clock=clock)
    ...
    await clock.advance("24h")      # whatever sleeps until then goes on, in order, without waiting

In a test of a Flask application, which is not a coroutine, ``clock.advance("24h")`` does the same and blocks.
"""

from __future__ import annotations

from .clock import VirtualClock
from .crash import Crash, CrashPoint
from .store import MemoryStore

__all__ = ["Crash", "CrashPoint", "MemoryStore", "VirtualClock"]
