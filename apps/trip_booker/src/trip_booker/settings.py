"""What the environment says about this app, and where it is served. The command reads it before anything else."""

from __future__ import annotations

import math
import os

HOST = "127.0.0.1"


def port() -> int:
    """
    Return the port to serve on: ``PORT``, or 3000.

    Raises:
        ValueError: ``PORT`` is not a port number.
    """
    text = os.environ.get("PORT") or "3000"
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError(f"PORT must be a number from 1 to 65535, not {text!r}")
    return int(text)


def speed() -> float:
    """
    Return ``TRIP_BOOKER_SPEED``, the factor on every latency: 1 as in reality (the default), 0 for none.

    Raises:
        ValueError: It is not a number from 0.
    """
    text = os.environ.get("TRIP_BOOKER_SPEED") or "1"
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not 0 <= factor < math.inf:
        raise ValueError(f"TRIP_BOOKER_SPEED must be a number from 0, e.g. 0.5, not {text!r}")
    return factor
