"""What may name a step, an event or a signal. Pure."""

from __future__ import annotations


def is_name(value: object) -> bool:
    """Tell whether *value* is a non-empty text that can be stored: half a surrogate pair, as JSON may hold, cannot."""
    if not isinstance(value, str) or not value:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
