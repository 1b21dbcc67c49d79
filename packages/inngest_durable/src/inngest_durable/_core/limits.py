"""The limits of a run. Each has an error that names the limit, the value and how to raise it."""

from __future__ import annotations

from msgspec import Struct

KIB = 1024
MIB = 1024 * KIB


class Limits(Struct, frozen=True):
    """
    How much one run may hold. Sizes are in bytes.

    Args:
        request_body: Body of a request to an endpoint; a larger one is answered ``413``, or refused by `step.invoke`.
        step_result: Result of one step, as JSON.
        run_state: Results and errors of all steps of a run together.
        steps: Steps of a run.
        response: Recorded response; a larger one still reaches the client that is connected, but the record is a
            ``500`` that says so.
        event_data: Data of one event or signal, as JSON.
    """

    request_body: int = 1 * MIB
    step_result: int = 4 * MIB
    run_state: int = 32 * MIB
    steps: int = 1000
    response: int = 4 * MIB
    event_data: int = 512 * KIB


def exceeded(name: str, value: int, limit: int) -> str:
    """Return the text of an error: what, how much, and how to raise it."""
    return f"{name} is {value:,}, over the limit of {limit:,}: raise it with Inngest(limits=Limits({name}=…))"
