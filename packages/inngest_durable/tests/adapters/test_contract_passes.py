"""Passes as the application around the handler sees them: refused re-entries, `current_pass()`, and what is logged."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import RetryPolicy
from quart import Quart

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.shop import AT_ONCE, Shop, bare_shop, mount_wait, open_shop, query_of
from packages.inngest_durable.tests.adapters.site import RUN_ID
from testkit.colourless import (
    Response,
    current_pass,
    method_view,
    over_both,
    over_quart_only,
    put_middleware,
    redirect,
    request,
    step,
)
from testkit.outside import OutageError

pytestmark = over_both

ATTEMPTS = QUICK.max_retries + 1

Hook = Callable[[], Awaitable[Any | None]]


def guarded_shop(folder: Path, hook: Hook | None = None, *, route: str = "/order") -> Shop:
    """Return an application with one endpoint, and a hook that only re-entries meet."""
    shop = bare_shop(folder)

    @shop.app.get(route)
    @shop.inngest.endpoint(id="order", retries=QUICK)
    async def order() -> str:
        return await step.run("flaky", shop.outside.act, "flaky", 1)

    if hook is not None:

        @shop.app.before_request
        async def meet_reentries() -> Any | None:
            return await hook() if current_pass() == "reentry" else None

    return shop


def test_application_knows_its_client(tmp_path: Path) -> None:
    """A server's hook that has nothing but the application can start the engine."""
    shop = guarded_shop(tmp_path)
    shop.inngest.init_app(shop.app)

    assert shop.app.extensions["inngest"] is shop.inngest


async def to_login() -> Any:
    """Send who is not logged in to the login."""
    return redirect("/login?next=/order")


async def broken() -> Any:
    """Fail, as a hook with a mistake does."""
    raise OutageError("the session store is down")


async def teapot() -> Any:
    """Answer with a body and a cookie."""
    response = Response("no", 418)
    response.set_cookie("seen", "1")
    return response


@pytest.mark.parametrize(
    ("hook", "status", "header"),
    [(to_login, 302, "location"), (broken, 500, "content-type"), (teapot, 418, "set-cookie")],
)
def test_reentry_that_a_hook_answers_is_a_failed_attempt(
    tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture, hook: Hook, status: int, header: str
) -> None:
    """It is tried again by the policy; then the run has failed, and the wait URL answers what the hook did."""
    shop = guarded_shop(tmp_path, hook)
    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    first = site.get("/order")
    answer = site.get(first.headers["location"])
    run = site.records.wait_for_end(first.headers[RUN_ID])

    assert (answer.status_code, header in answer.headers) == (status, True)
    assert (run.status, run.attempt) == ("failed", ATTEMPTS)
    assert "EndpointNotReachedError" in str(run.failure)
    assert site.outside.counts() == {"flaky": 1}
    told = f"the re-entry of GET /order was answered {status} without its endpoint [run={run.id}]\n"
    assert caplog.text.count(told) == ATTEMPTS


def test_reentry_of_a_moved_route_is_a_failed_attempt(tmp_path: Path, serve: Serve) -> None:
    """After a deployment that took the route away, the run fails with the 404 that the application answers."""
    shop = bare_shop(tmp_path)

    @shop.app.get("/order")
    @shop.inngest.endpoint(id="order")
    async def order() -> str:
        await step.sleep("pause", "300ms")
        return "never"

    shop.inngest.init_app(shop.app)
    first = serve(shop.app, shop.inngest)
    redirected = first.get("/order")
    first.close()
    moved = guarded_shop(tmp_path, route="/orders")
    moved.inngest.init_app(moved.app)
    site = serve(moved.app, moved.inngest)
    answer = site.get(redirected.headers["location"])

    assert (answer.status_code, answer.headers[RUN_ID]) == (404, redirected.headers[RUN_ID])
    assert site.records.wait_for_only_run().status == "failed"


@over_quart_only
def test_reentry_that_another_view_answers_is_a_failed_attempt(tmp_path: Path, serve: Serve) -> None:
    """An answer of 200 does not complete the run, if it is not its endpoint that gave it."""
    shop = guarded_shop(tmp_path)
    inner = shop.app.asgi_app
    maintenance = Quart("maintenance")

    @maintenance.get("/order")
    async def back_soon() -> str:
        return f"back soon#{shop.outside.record('maintenance')}"

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        counts = shop.outside.counts()
        is_down = scope["type"] == "http" and counts.get("flaky") == 1 and counts.get("maintenance", 0) < 2
        await (maintenance if is_down else inner)(scope, receive, send)

    shop.app.asgi_app = middleware  # type: ignore[method-assign]
    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    run = site.records.wait_for_end(site.get("/order").headers[RUN_ID])

    assert (run.status, run.attempt) == ("completed", 3)
    assert site.outside.counts() == {"flaky": 2, "maintenance": 2}


def test_middleware_that_raises_at_a_reentry_costs_an_attempt(tmp_path: Path, serve: Serve) -> None:
    """Middleware inside the edge that breaks is a failed attempt, and the run goes on when it works again."""
    shop = guarded_shop(tmp_path)
    breaks = [True, True]

    def break_down() -> None:
        if shop.outside.counts().get("flaky") == 1 and breaks and breaks.pop():
            raise OutageError("the middleware is broken")

    put_middleware(shop.app, break_down)
    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    run_id = site.get("/order").headers[RUN_ID]
    run = site.records.wait_for_end(run_id)

    assert (run.status, run.attempt) == ("completed", 3)
    assert site.outside.counts() == {"flaky": 2}


def test_hook_can_let_reentries_pass(tmp_path: Path, serve: Serve) -> None:
    """A rate limiter that asks for the pass counts the client's requests only."""
    shop = bare_shop(tmp_path)

    @shop.app.before_request
    async def limit() -> Any | None:
        if current_pass() != "first":
            return None
        return None if shop.outside.record("request") <= 2 else ("slow down", 429)

    @shop.app.get("/order")
    @shop.inngest.endpoint(retries=RetryPolicy(max_retries=9, initial="100ms", factor=0.01, jitter=False))
    async def order() -> str:
        return await step.run("flaky", shop.outside.act, "flaky", 6)

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    answer = site.follow(site.get("/order"))
    later = [site.get("/order").status_code for _ in range(2)]

    assert (answer.status_code, answer.text) == (200, "flaky#7")
    assert later == [200, 429]


def observed_shop(folder: Path) -> Shop:
    """Return an application that notes `current_pass()` wherever its code runs."""
    shop = bare_shop(folder)

    def note(where: str) -> None:
        shop.outside.record(f"{request.path.split('/')[1]} {where}", kind=current_pass())

    @shop.app.before_request
    async def before() -> None:
        note("before")

    @shop.app.after_request
    async def after(response: Response) -> Response:
        note("after")
        return response

    @shop.app.teardown_request
    async def teardown(error: BaseException | None) -> None:
        note("teardown")

    def in_step() -> None:
        note("step")
        shop.outside.act("flaky", 1)

    @shop.app.get("/order")
    @shop.inngest.endpoint(retries=QUICK)
    async def order() -> str:
        note("handler")
        await step.run("flaky", in_step)
        return "done"

    @shop.app.get("/plain")
    async def plain() -> str:
        note("handler")
        return "plain"

    shop.inngest.init_app(shop.app)
    mount_wait(shop)
    return shop


def test_current_pass_tells_requests_apart(tmp_path: Path, serve: Serve) -> None:
    """None, "first" and "reentry", in hooks before and after the view, in the handler and in its steps."""
    shop = observed_shop(tmp_path)
    site = serve(shop.app, shop.inngest)
    location = site.get("/order").headers["location"]
    site.get(location)
    site.get("/wait", params={"runId": location.split("/")[3], **query_of(location)}, headers=AT_ONCE)
    site.get("/plain")
    site.get("/nowhere")
    # A network client cannot make itself a re-entry.
    forged = {"inngest.pass": "reentry", "X-Inngest-Pass": "reentry", "X-Inngest-Run-Id": location.split("/")[3]}
    site.get("/plain", headers=forged)
    site.close()

    def kinds(path: str, *places: str) -> list[str | None]:
        return [call["kind"] for where in places for call in shop.outside.calls(f"{path} {where}")]

    for where in ("before", "handler", "step", "after", "teardown"):
        assert kinds("order", where) == ["first", "reentry"], where
    for path in ("plain", "_inngest", "wait", "nowhere"):
        assert set(kinds(path, "before", "after", "teardown")) == {None}, path
    assert kinds("plain", "handler") == [None, None]


def test_current_pass_knows_endpoints_in_class_based_views(tmp_path: Path, serve: Serve) -> None:
    """Methods that are endpoints are told apart from methods of the same class that are none, in hooks too."""
    shop = bare_shop(tmp_path)

    @shop.app.before_request
    async def before() -> None:
        shop.outside.record(request.method, kind=current_pass())

    class Orders(method_view()):  # type: ignore[misc]  # of the framework that the test runs over
        @shop.inngest.endpoint(retries=QUICK)
        async def get(self) -> str:
            return await step.run("flaky", shop.outside.act, "flaky", 1)

        async def post(self) -> str:
            return "plain"

    shop.app.add_url_rule("/orders", view_func=Orders.as_view("orders"))
    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    run_id = site.get("/orders").headers[RUN_ID]
    site.client.post("/orders")
    site.records.wait_for_end(run_id)

    assert [call["kind"] for call in shop.outside.calls("GET")] == ["first", "reentry"]
    assert [call["kind"] for call in shop.outside.calls("POST")] == [None]


@over_quart_only
async def test_current_pass_outside_of_a_request_is_none(tmp_path: Path) -> None:
    """Code that also runs in scripts and at the start can ask without a request."""
    shop = open_shop(tmp_path)

    assert current_pass() is None
    async with shop.app.app_context():
        assert current_pass() is None


def test_tokens_are_in_no_log_of_ours(tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever happens to a run and to those who ask for it, our loggers never write what opens it."""
    caplog.set_level(logging.DEBUG, "inngest_durable")
    shop = guarded_shop(tmp_path, teapot)

    @shop.app.get("/breaks")
    @shop.inngest.endpoint(retries=QUICK)
    async def breaks() -> str:
        await step.run("fine", shop.outside.act, "fine")
        raise OutageError("the handler is down")

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    redirects = [site.get(path) for path in ("/order", "/breaks")]
    tokens = [query_of(response.headers["location"])["token"] for response in redirects]
    for response in redirects:
        location = response.headers["location"]
        site.records.wait_for_end(response.headers[RUN_ID])
        for url in (location, location[:-1], f"{location}&n=x"):
            site.get(url, headers={"Prefer": "wait=0", "Authorization": tokens[0]})
    site.close()
    formatter = logging.Formatter()
    ours = [formatter.format(record) for record in caplog.records if record.name.startswith("inngest_durable")]

    assert any(redirects[0].headers[RUN_ID] in line for line in ours)
    assert not [line for line in ours if any(token in line for token in tokens)]
