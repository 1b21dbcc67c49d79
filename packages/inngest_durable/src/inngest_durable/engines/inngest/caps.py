"""What an Inngest server takes of one run."""

from __future__ import annotations

from ..._core.limits import KIB, MIB, Limits

# A call holds 4 MiB, a request's body in it is base64; a step's data have 4 MiB, a memo's own fields among them.
_MOST = {
    "request_body": 2_900_000,
    "step_result": 4 * MIB - 64 * KIB,
    "run_state": 30 * MIB,
    "response": 4 * MIB,
}


def lowered(limits: Limits) -> Limits:
    """Return *limits*, lowered to what the server takes."""
    given = {name: getattr(limits, name) for name in limits.__struct_fields__}
    return Limits(**{name: min(value, _MOST.get(name, value)) for name, value in given.items()})
