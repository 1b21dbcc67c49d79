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


def new_ulid() -> str:
    """Return a new ULID: 26 characters, of which 16 are random."""
    return ulid_time(time.time()) + os.urandom(16).translate(_LETTER_OF_BYTE).decode()


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
