"""Durations as users write them: ``"30s"``, ``"250ms"``, ``"24h"`` or a timedelta. Pure."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_WHOLE = re.compile(rf"(?:{_PART.pattern}\s*)+")

Duration = str | timedelta


def seconds(duration: Duration) -> float:
    """
    Return *duration* in seconds.

    Args:
        duration: A timedelta, or a text of numbers with units ``ms s m h d w``, e.g. ``"1h30m"``.

    Raises:
        ValueError: The text is not of this form, or the duration is negative or too long for a float.
    """
    if isinstance(duration, timedelta):
        value = duration.total_seconds()
        if value < 0:
            raise ValueError(f"a duration cannot be negative: {duration!r}")
        return value
    if not isinstance(duration, str) or not _WHOLE.fullmatch(duration.strip()):
        raise ValueError(f'{duration!r} is not a duration: use a timedelta or a text such as "30s", "250ms", "1h30m"')
    value = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(duration))
    if math.isinf(value):
        raise ValueError("a duration cannot be infinite: a number in it has more than 300 digits")
    return value


def timestamp(moment: datetime) -> float:
    """
    Return *moment* in seconds since the epoch.

    Raises:
        ValueError: *moment* is not a datetime, or has no time zone, and so would mean another instant on another
            machine.
    """
    if not isinstance(moment, datetime):
        raise ValueError(f"{moment!r} is no datetime: use datetime.now(UTC) or another aware one")
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: use datetime.now(UTC) or another aware datetime")
    return moment.timestamp()
