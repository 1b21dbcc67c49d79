"""The processing service, faked: takes data in and answers what became of it. It honours idempotency keys."""

from __future__ import annotations

import secrets
from typing import Any, TypedDict

from trip_booker.third_party import Fault, ask
from trip_booker.world import Call


class ProcessingError(Exception):
    """The service could not do it this time; it may well work the next time."""


OVERLOADED = Fault(ProcessingError, "OVERLOADED", "the processing service has too much to do")


class Result(TypedDict):
    """What became of the data."""

    resultId: str
    data: dict[str, Any]


async def process(user_id: str, data: dict[str, Any], *, idempotency_key: str) -> Result:
    """Process *data*; the same key gets the same result."""
    call = Call("processing", "process", user_id, idempotency_key)
    result = Result(resultId=f"res_{secrets.token_hex(6)}", data=data)
    return await ask(
        call, outcome="processed", result=result, seconds=0.8, fault=OVERLOADED, says=("Processing", "Processed")
    )
