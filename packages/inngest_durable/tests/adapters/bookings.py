"""Handlers of `application` that succeed in the end: steps in a row, in parallel, held, and pauses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from inngest_durable import Inngest
from quart import Blueprint, Quart

from packages.inngest_durable.tests.adapters.application import QUICK
from testkit.colourless import g, parallel, request, step, url_for
from testkit.outside import Outside


def add(app: Quart, inngest: Inngest, outside: Outside, shop: Blueprint) -> None:
    """Add the handlers to *app*, one of them in the blueprint *shop*."""
    _add_bookings(app, inngest, outside, shop)
    _add_pauses(app, inngest, outside)


def _add_bookings(app: Quart, inngest: Inngest, outside: Outside, shop: Blueprint) -> None:
    @app.get("/plain")
    @inngest.endpoint
    async def plain() -> str:
        return "plain"

    @app.get("/book")
    @inngest.endpoint(retries=QUICK)
    async def book() -> dict[str, str]:
        reserved = await step.run("reserve", outside.act, "reserve")
        charged = await step.run("charge", outside.act, "charge", request.args.get("fail", 0, type=int))
        confirmed = await step.run("confirm", outside.act, "confirm")
        return {"reserved": reserved, "charged": charged, "confirmed": confirmed}

    @shop.get("/<item>")
    @inngest.endpoint(retries=QUICK)
    async def buy(item: str) -> dict[str, str]:
        charged = await step.run("charge", outside.act, "charge", request.args.get("fail", 0, type=int))
        return {
            "item": item,
            "charged": charged,
            "next": url_for("shop.buy", item="next"),
            "in": str(request.blueprint),
        }

    app.register_blueprint(shop, url_prefix="/shop")

    @app.get("/parallel")
    @inngest.endpoint(retries=QUICK)
    async def parallel_view() -> list[str]:
        fail = request.args.get("fail", 0, type=int)
        return await parallel(
            lambda: step.run("flight", outside.act, "flight"),
            lambda: step.run("hotel", outside.act, "hotel", fail),
            lambda: step.run("car", outside.act, "car"),
        )

    @app.get("/held")
    @inngest.endpoint(retries=QUICK)
    async def held() -> list[str]:
        one = await step.run("one", outside.act, "one")
        two = await step.run("two", outside.held, "two")
        return [one, two, await step.run("three", outside.act, "three")]

    @app.get("/held-first")
    @inngest.endpoint(retries=QUICK)
    async def held_first() -> list[str]:
        one = await step.run("one", outside.held, "one")
        return [one, await step.run("two", outside.act, "two")]

    @app.get("/guarded")
    @inngest.endpoint(retries=QUICK)
    async def guarded() -> str:
        return await step.run("flaky", outside.act, "flaky", 1)

    @app.get("/marked")
    @inngest.endpoint(retries=QUICK)
    async def marked() -> str:
        await step.run("flaky", outside.act, "flaky", 1)
        return str(g.get("mark"))


def _add_pauses(app: Quart, inngest: Inngest, outside: Outside) -> None:
    def now(action: str) -> float:
        moment = datetime.now(UTC).timestamp()
        outside.record(action, at=moment)
        return moment

    @app.get("/sleep")
    @inngest.endpoint
    async def sleep() -> list[float]:
        before = await step.run("before", now, "before")
        await step.sleep("pause", timedelta(milliseconds=request.args.get("ms", 0, type=int)))
        return [before, await step.run("after", now, "after")]

    @app.get("/sleep-until")
    @inngest.endpoint
    async def sleep_until() -> list[float]:
        before = await step.run("before", now, "before")
        pause = timedelta(milliseconds=request.args.get("ms", 0, type=int))
        await step.sleep_until("pause", datetime.fromtimestamp(before, UTC) + pause)
        return [before, await step.run("after", now, "after")]

    @app.get("/long-sleep")
    @inngest.endpoint
    async def long_sleep() -> str:
        await step.run("before", now, "before")
        await step.sleep("pause", "1h")
        return "awake"
