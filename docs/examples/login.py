"""A login that lets runs go on after the token of their client has expired."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec

from inngest_durable import EmbeddedEngine, Inngest, step
from inngest_durable.quart import current_pass, endpoint_adapter
from quart import Quart, abort, g, request

P = ParamSpec("P")

expired: set[str] = set()
shipped: list[str] = []


def logged_in(view: Callable[P, Awaitable[Any]]) -> Callable[P, Awaitable[Any]]:
    """Let in whoever has a token; whether it has expired matters only when the client itself asks."""

    @wraps(view)
    async def checked(*args: P.args, **kwargs: P.kwargs) -> Any:
        token = request.headers.get("Authorization", "")
        if not token or (token in expired and current_pass() != "reentry"):
            abort(401)
        g.user = token.removeprefix("Bearer ")
        return await view(*args, **kwargs)

    return checked


def create_app(engine: EmbeddedEngine | None = None) -> Quart:
    """Return the application; a test gives it an engine of its own."""
    app = Quart(__name__)
    inngest = Inngest(app_id="shop", endpoint_adapter=endpoint_adapter, engine=engine)

    @app.post("/orders")
    @logged_in
    @inngest.endpoint(id="shop.order")
    async def order() -> Any:
        """Leave the customer a day to think, then ship."""
        await step.sleep("cooling-off", "24h")
        await step.run("ship", ship, g.user)
        return {"shipped": True}

    inngest.init_app(app)
    return app


async def ship(user: str) -> None:
    """Send the goods."""
    shipped.append(user)
