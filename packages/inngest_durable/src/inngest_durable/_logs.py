"""
Puts the run and the step that a log record is about onto the record, for formatters and filters.

They are read from the message that is logged anyway, so that no caller has to name them twice and nothing is done if
nothing is logged: messages name them as ``step %r`` and ``[run=%s]``.
"""

from __future__ import annotations

import logging
import re

# Each place for an argument, and whether a run or a step belongs there. From the message as it is written in the
# source, never from what it was filled with: that may hold anybody's texts.
_PLACES = re.compile(r"(\[run=|\bstep )?%[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")
_ATTRIBUTES = {"[run=": "run_id", "step ": "step"}


def add_run(record: logging.LogRecord) -> bool:
    """Set ``run_id`` and ``step`` of a *record* that is about a run or a step; let every record pass."""
    args = record.args
    if isinstance(args, tuple) and isinstance(record.msg, str):
        for place, value in zip(_PLACES.finditer(record.msg), args, strict=False):
            attribute = _ATTRIBUTES.get(place[1])
            if attribute is not None and isinstance(value, str) and value:
                setattr(record, attribute, value)
    return True


logger = logging.getLogger("inngest_durable")
logger.addFilter(add_run)
