"""``idempotency_scope``: the user's function that says whose idempotency keys these are, and a check of its result."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from .errors import ConfigurationError


def refuse_async(scope: Callable[[], str]) -> None:
    """Refuse a *scope* that has to be awaited. Raises `ConfigurationError`."""
    # Also an object whose call is asynchronous.
    if inspect.iscoroutinefunction(scope) or inspect.iscoroutinefunction(type(scope).__call__):
        name = getattr(scope, "__qualname__", type(scope).__name__)
        raise ConfigurationError(
            f"idempotency_scope={name} is `async def`, but it is called without await: make it a `def`, and await "
            "what it needs in a before_request hook"
        )


def checked_scope(scope: Callable[[], str], endpoint_id: str) -> Callable[[], str]:
    """Return *scope* with a check of its result: None would stand for the ``Authorization`` header."""

    def checked() -> str:
        found: object = scope()
        if isinstance(found, str):
            return found
        if inspect.iscoroutine(found):
            # Nobody will await it, and Python would warn of that.
            found.close()
        kind = "None" if found is None else type(found).__name__
        raise ConfigurationError(
            f"idempotency_scope of {endpoint_id} returned {kind}, not str: return whose key it is, e.g. the user's ID"
        )

    return checked
