"""Handlers of `application` that succeed in the end, on Flask: steps in a row, in parallel, held, and pauses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Blueprint, Flask, g, request, url_for
from inngest_durable import Inngest
from inngest_durable.sync import group, step

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.outside import Outside


def add(app: Flask, inngest: Inngest, outside: Outside) -> None:
    """Add the handlers to *app*."""
    _add_bookings(app, inngest, outside)
    _add_pauses(app, inngest, outside)


def _add_bookings(app: Flask, inngest: Inngest, outside: Outside) -> None:
    @app.get("/plain")
    @inngest.endpoint
    def plain() -> str:
        return "plain"

    @app.get("/book")
    @inngest.endpoint(retries=QUICK)
    def book() -> dict[str, str]:
        reserved = step.run("reserve", outside.act, "reserve")
        charged = step.run("charge", outside.act, "charge", request.args.get("fail", 0, type=int))
        confirmed = step.run("confirm", outside.act, "confirm")
        return {"reserved": reserved, "charged": charged, "confirmed": confirmed}

    shop = Blueprint("shop", __name__, url_prefix="/shop")

    @shop.get("/<item>")
    @inngest.endpoint(retries=QUICK)
    def buy(item: str) -> dict[str, str]:
        charged = step.run("charge", outside.act, "charge", request.args.get("fail", 0, type=int))
        return {
            "item": item,
            "charged": charged,
            "next": url_for("shop.buy", item="next"),
            "in": str(request.blueprint),
        }

    app.register_blueprint(shop)

    @app.get("/parallel")
    @inngest.endpoint(retries=QUICK)
    def parallel() -> list[str]:
        fail = request.args.get("fail", 0, type=int)
        return group.parallel(
            (
                lambda: step.run("flight", outside.act, "flight"),
                lambda: step.run("hotel", outside.act, "hotel", fail),
                lambda: step.run("car", outside.act, "car"),
            )
        )

    @app.get("/held")
    @inngest.endpoint(retries=QUICK)
    def held() -> list[str]:
        one = step.run("one", outside.act, "one")
        two = step.run("two", outside.held, "two")
        return [one, two, step.run("three", outside.act, "three")]

    @app.get("/held-first")
    @inngest.endpoint(retries=QUICK)
    def held_first() -> list[str]:
        one = step.run("one", outside.held, "one")
        return [one, step.run("two", outside.act, "two")]

    @app.get("/guarded")
    @inngest.endpoint(retries=QUICK)
    def guarded() -> str:
        return step.run("flaky", outside.act, "flaky", 1)

    @app.get("/marked")
    @inngest.endpoint(retries=QUICK)
    def marked() -> str:
        step.run("flaky", outside.act, "flaky", 1)
        return str(g.get("mark"))


def _add_pauses(app: Flask, inngest: Inngest, outside: Outside) -> None:
    def now(action: str) -> float:
        moment = datetime.now(UTC).timestamp()
        outside.record(action, at=moment)
        return moment

    @app.get("/sleep")
    @inngest.endpoint
    def sleep() -> list[float]:
        before = step.run("before", now, "before")
        step.sleep("pause", timedelta(milliseconds=request.args.get("ms", 0, type=int)))
        return [before, step.run("after", now, "after")]

    @app.get("/sleep-until")
    @inngest.endpoint
    def sleep_until() -> list[float]:
        before = step.run("before", now, "before")
        pause = timedelta(milliseconds=request.args.get("ms", 0, type=int))
        step.sleep_until("pause", datetime.fromtimestamp(before, UTC) + pause)
        return [before, step.run("after", now, "after")]

    @app.get("/long-sleep")
    @inngest.endpoint
    def long_sleep() -> str:
        step.run("before", now, "before")
        step.sleep("pause", "1h")
        return "awake"
