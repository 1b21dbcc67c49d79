"""What a caller did wrong, and how the app says so: every error of the booking API is JSON of one shape."""

from __future__ import annotations

from inngest_durable import StepError
from quart import Quart
from quart.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest


class InvalidRequestError(BadRequest):
    """
    The query or the body of a request cannot be used.

    An HTTP exception is an answer: an endpoint that raises it has not failed, so it is not tried again.

    Args:
        field: Name of the query parameter or of the field of the body, e.g. ``"date"``.
        message: What is wrong with it, as a sentence for the caller.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def install(app: Quart) -> None:
    """Make *app* answer invalid requests and failed steps with JSON."""
    app.register_error_handler(InvalidRequestError, answer_invalid_request)
    app.register_error_handler(StepError, answer_failed_step)


async def answer_invalid_request(error: InvalidRequestError) -> ResponseReturnValue:
    """Answer 400: nothing was booked, and the caller can correct the field that is named."""
    details = {"code": "INVALID_REQUEST", "field": error.field, "message": error.message}
    return {"success": False, "error": details}, 400


async def answer_failed_step(error: StepError) -> ResponseReturnValue:
    """Answer 502: a third party failed for good, and the handler had no better answer."""
    details = {"code": "STEP_FAILED", "step": error.step_id, "attempts": error.attempt, "message": error.message}
    return {"success": False, "error": details}, 502
