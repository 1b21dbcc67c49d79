"""The IDs that callers give: checked before anything is done in their name."""

from __future__ import annotations

import re
import reprlib

from trip_booker.errors import InvalidRequestError

ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def read_id(field: str, value: object) -> str:
    """
    Return *value* as an ID.

    Raises:
        InvalidRequestError: It is missing, or not 1 to 64 letters, digits, ``-``, ``_`` or ``.``; names *field*.
    """
    if isinstance(value, str) and ID.fullmatch(value):
        return value
    problem = "is missing" if value is None or value == "" else f"cannot be {reprlib.repr(value)}"
    raise InvalidRequestError(field, f"{field} {problem}: use 1 to 64 letters, digits, '-', '_' or '.'")
