"""``idempotency_scope``: the user's function that tells whose idempotency keys these are, held to its promise."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from .errors import ConfigurationError


def refuse_async(scope: Callable[[], str]) -> None:
    """Refuse a *scope* that has to be awaited. Raises `ConfigurationError`."""
    # An object whose call is asynchronous, too.
    if inspect.iscoroutinefunction(scope) or inspect.iscoroutinefunction(type(scope).__call__):
        name = getattr(scope, "__qualname__", type(scope).__name__)
        raise ConfigurationError(
            f"idempotency_scope={name} is `async def`, but it is called without await: make it a `def`, and await "
            "what it needs in a before_request hook"
        )


def checked_scope(scope: Callable[[], str], endpoint_id: str) -> Callable[[], str]:
    """Return *scope*, held to its promise: None would let the ``Authorization`` header tell."""

    def checked() -> str:
        found: object = scope()
        if isinstance(found, str):
            return found
        if inspect.iscoroutine(found):
            # Nobody will await it, and Python would say so.
            found.close()
        kind = "None" if found is None else type(found).__name__
        raise ConfigurationError(
            f"idempotency_scope of {endpoint_id} returned {kind}, not str: return whose key it is, e.g. the user's ID"
        )

    return checked
