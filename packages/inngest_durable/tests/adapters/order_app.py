"""
An application whose endpoints count each call of their handlers, for the tests of `Idempotency-Key`.

    route                    what its handler does
    /order?fail=             GET, POST, PUT: step charge (fails); answers 201 with a cookie
    /order/<path>            step charge
    /by-cookie               step charge; keys are scoped by the session's user, whom /log-in/<user> sets
    /slow?fail=              step first (fails); step held takes until its gate opens
    /asleep                  a pause of an hour
    /no-step?fail=&abort=    the handler itself raises the first times; answers, or aborts with 404
    /fails                   step charge always fails, no retries
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from werkzeug.exceptions import HTTPException

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.shop import Shop, bare_shop, mount_wait, note_visits
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from testkit.colourless import Response, abort, request, session, step
from testkit.outside import OutageError

KEY = {"Idempotency-Key": "order-1"}
REPLAYED = "idempotent-replayed"


def orders(folder: Path, **options: Any) -> Shop:
    """Return the application, connected."""
    shop = bare_shop(folder, **options)
    shop.app.secret_key = "not so secret"
    note_visits(shop, folder)
    _add_orders(shop)
    _add_users(shop)
    _add_waits(shop)
    _add_failures(shop)
    shop.inngest.init_app(shop.app)
    mount_wait(shop)
    return shop


def _add_orders(shop: Shop) -> None:
    outside = shop.outside

    @shop.app.route("/order", methods=["GET", "POST", "PUT"])
    @shop.inngest.endpoint(id="order", retries=QUICK)
    async def order() -> Any:
        outside.record("handler")
        text = await step.run("charge", outside.act, "charge", request.args.get("fail", 0, type=int))
        response = Response(text, 201, {"X-Order": "7", "Cache-Control": "max-age=5"})
        response.set_cookie("receipt", "secret")
        return response

    @shop.app.get("/order/<path:tail>")
    @shop.inngest.endpoint(id="order-tail", retries=QUICK)
    async def order_tail(tail: str) -> str:
        return await step.run("charge", outside.act, "charge")


def _add_users(shop: Shop) -> None:
    def scope() -> str:
        return str(session.get("user", ""))

    @shop.app.get("/by-cookie")
    @shop.inngest.endpoint(id="by-cookie", retries=QUICK, idempotency_scope=scope)
    async def by_cookie() -> str:
        return await step.run("charge", shop.outside.act, "charge")

    @shop.app.get("/log-in/<user>")
    async def log_in(user: str) -> str:
        session["user"] = user
        return user


def _add_waits(shop: Shop) -> None:
    outside = shop.outside

    @shop.app.get("/slow")
    @shop.inngest.endpoint(id="slow", retries=QUICK)
    async def slow() -> str:
        outside.record("handler")
        await step.run("first", outside.act, "first", request.args.get("fail", 0, type=int))
        return await step.run("held", outside.held, "held")

    @shop.app.get("/asleep")
    @shop.inngest.endpoint(id="asleep", retries=QUICK)
    async def asleep() -> str:
        await step.sleep("pause", "1h")
        return "awake"


def _add_failures(shop: Shop) -> None:
    outside = shop.outside

    @shop.app.get("/no-step")
    @shop.inngest.endpoint(id="no-step", retries=QUICK)
    async def no_step() -> str:
        if outside.record("handler") <= request.args.get("fail", 0, type=int):
            raise OutageError("the handler is down")
        if "abort" in request.args:
            abort(404, "no such order")
        return "no step"

    @shop.app.get("/fails")
    @shop.inngest.endpoint(id="fails", retries=0)
    async def fails() -> str:
        return await step.run("charge", outside.act, "charge", 1_000)

    @shop.app.errorhandler(Exception)
    async def show(error: Exception) -> Any:
        return error.get_response() if isinstance(error, HTTPException) else (type(error).__name__, 502)


def finished(site: Site, path: str = "/order", **options: Any) -> httpx.Response:
    """Make a first request of a key, and return its response when its run has ended in the database too."""
    response = site.client.request(options.pop("method", "GET"), path, **{"headers": KEY, **options})
    site.records.wait_for_end(response.headers[RUN_ID])
    return response
