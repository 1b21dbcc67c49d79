"""What may name a step, an event or a signal. Pure."""

from __future__ import annotations


def is_name(value: object) -> bool:
    """Return whether *value* is a non-empty string that can be stored: a lone surrogate, as JSON may hold, cannot."""
    if not isinstance(value, str) or not value:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
