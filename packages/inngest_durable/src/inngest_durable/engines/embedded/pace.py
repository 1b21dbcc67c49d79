"""
Where to commit: on the loop, or in the writer's thread. Pure arithmetic on measured times.

On a disk that syncs faster than `_SLOW_SECONDS` the loop commits by itself: a hand-over to the thread and back waits
twice for the interpreter lock, which takes a busy loop milliseconds. On a slower disk the loop would stand still for
longer than that.

Going to the thread is easy to decide: the loop's own average says so. The way back is not, because a thread that
committed has to wait for the interpreter lock, up to 5 ms, so a busy loop makes every disk look slow. Hence the
quickest quarter of the thread's commits decides, not their average; and each return that proves wrong doubles the time
until the next.
"""

from __future__ import annotations

from collections import deque

_SLOW_SECONDS = 0.002
# One slow commit among quick ones is no reason to leave the loop, unless it took 32 ms.
_WEIGHT = 1 / 16
# Commits in the thread before the loop is tried again, and how far doubling takes it.
_STAY, _LONGEST_STAY = 16, 1024
# A return to the loop that holds for fewer commits was wrong.
_TRIAL = 64


class Pace:
    """
    Learns how long commits take.

    Attributes:
        threaded: Whether the next batch belongs in the thread.
    """

    def __init__(self) -> None:
        self.threaded = False
        self._average = 0.0
        self._on_loop = _TRIAL
        self._in_thread = 0
        self._stay = _STAY
        self._recent: deque[float] = deque(maxlen=_STAY)

    def committed_on_loop(self, seconds: float) -> None:
        """Note a commit that took the loop *seconds*."""
        self._on_loop += 1
        self._average += (seconds - self._average) * _WEIGHT
        if self._average > _SLOW_SECONDS:
            self.threaded = True
            self._in_thread = 0
            self._stay = _STAY if self._on_loop >= _TRIAL else min(self._stay * 2, _LONGEST_STAY)

    def committed_in_thread(self, seconds: float) -> None:
        """Note a commit that took the thread *seconds*."""
        self._in_thread += 1
        self._recent.append(seconds)
        if not self.threaded or self._in_thread < self._stay:
            return
        quick = sorted(self._recent)[len(self._recent) // 4]
        if quick < _SLOW_SECONDS / 2:
            self.threaded = False
            self._average = quick
            self._on_loop = 0
