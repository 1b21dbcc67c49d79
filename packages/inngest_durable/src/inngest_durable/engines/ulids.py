"""
IDs of runs and workers: ULIDs, whose texts sort by the time they were made.

Written here because a run gets its ID in the client's request: a library takes ten times as long, which is more than
all other work of beginning a run.
"""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# 256 is 8 times 32, so a random byte gives each letter equally often.
_LETTER_OF_BYTE = "".join(_ALPHABET[byte % 32] for byte in range(256)).encode()
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


# Random endings that no ULID has yet: to ask the system for each would take longer than all the rest.
_endings: list[str] = []
_AT_ONCE, _LETTERS = 256, 16


def new_ulid() -> str:
    """Return a new ULID: 26 characters, of which 16 are random."""
    try:
        ending = _endings.pop()
    except IndexError:
        letters = os.urandom(_AT_ONCE * _LETTERS).translate(_LETTER_OF_BYTE).decode()
        fresh = [letters[start : start + _LETTERS] for start in range(0, len(letters), _LETTERS)]
        ending = fresh.pop()
        _endings.extend(fresh)
    return ulid_time(time.time()) + ending


def ulid_time(seconds: float) -> str:
    """Return the first 10 characters of every ULID that is made in that millisecond after the epoch."""
    number = int(seconds * 1000)
    return (
        _PAIRS[number >> 40]
        + _PAIRS[number >> 30 & 1023]
        + _PAIRS[number >> 20 & 1023]
        + _PAIRS[number >> 10 & 1023]
        + _PAIRS[number & 1023]
    )


def ulid_of(seconds: float, digest: bytes) -> str:
    """Return the ULID of a time and of 10 bytes or more, of which the first 10 count."""
    number = int.from_bytes(digest[:10], "big")
    return ulid_time(seconds) + "".join(_PAIRS[number >> shift & 1023] for shift in range(70, -10, -10))


# A forked child would use those of its parent.
os.register_at_fork(after_in_child=_endings.clear)
