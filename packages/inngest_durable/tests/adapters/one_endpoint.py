"""An application with one endpoint, which a test makes with the options that it is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from inngest_durable import StepError

from packages.inngest_durable.tests.adapters.shop import Shop, bare_shop
from testkit.colourless import step
from testkit.outside import Outside

Handler = Callable[[], Awaitable[Any]]


def shop_of(folder: Path, handler: Callable[[Outside], Handler], **options: Any) -> Shop:
    """Return an application with one endpoint, at ``/``, of these options; its errors are shown."""
    shop = bare_shop(folder)
    shop.app.get("/")(shop.inngest.endpoint(id="order", **options)(handler(shop.outside)))

    @shop.app.errorhandler(StepError)
    async def show(error: StepError) -> Any:
        return {"step": error.step_id, "error": error.name, "attempts": error.attempt}, 502

    @shop.app.get("/plain")
    async def plain() -> str:
        return "plain"

    shop.inngest.init_app(shop.app)
    return shop


def one_step(outside: Outside) -> Handler:
    """Make a handler of one step that always fails."""

    async def handler() -> str:
        return await step.run("charge", outside.act, "charge", 1_000)

    return handler
