"""`progress`: what a step's function reports to those who follow its run."""

from __future__ import annotations

import logging
from typing import Any

from . import _context
from ._core.run_events import LONGEST_DATA, LONGEST_TEXT, encoded, shortened
from .errors import OutsideStepError, StepValueError

logger = logging.getLogger("inngest_durable")


def progress(text: str, /, **data: Any) -> None:
    """
    Report to those who follow the run how far the running step is, e.g. ``progress("Comparing prices", found=12)``.

    Call it in a step's function, ``async def`` or ``def``. It does not wait for the disk. A replay does not report
    again, since it does not call the function; an attempt that is repeated does.

    Args:
        text: For people. Anything over 1,000 characters is cut off.
        **data: For the page, as JSON; left out, with a warning in the log, if it takes more than 4 KiB in UTF-8. At
            most 1,000 reports are recorded per attempt.

    Raises:
        OutsideStepError: Called outside a step's function.
        StepValueError: *text* is not a string, or *data* has no JSON form. It fails the step at once.
    """
    found = _context.scope.get(None)
    if found is None or found.step is None:
        raise OutsideStepError("progress() was called outside a step's function")
    step = found.step
    if not isinstance(text, str):
        raise StepValueError(f"progress() takes a text, not {type(text).__name__}", step.run_id, step.key)
    fields = ""
    if data:
        try:
            fields = encoded(data)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise StepValueError(f"progress() got data without a JSON form: {error}", step.run_id, step.key) from error
        if len(fields.encode()) > LONGEST_DATA:
            logger.warning(
                "step %r gave progress() more than %d bytes of data: left out [run=%s]",
                step.key,
                LONGEST_DATA,
                step.run_id,
            )
            fields = ""
    found.current_pass.progress(step.key, shortened(text, LONGEST_TEXT), fields)
