"""Applications among others: mounted, behind middleware and proxies, several in one process."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypercorn.middleware import ProxyFixMiddleware
from hypercorn.middleware.dispatcher import AsyncioDispatcherMiddleware
from inngest_durable import ConfigurationError, EmbeddedEngine, Inngest, step
from inngest_durable.quart import endpoint_adapter
from quart import Quart, request, url_for

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.quart_app import small_app
from packages.inngest_durable.tests.adapters.site import Site
from testkit.outside import Outside
from testkit.records import database_of
from testkit.servers import HypercornThread


def test_mounted_application_redirects_below_its_mount(tmp_path: Path, serve: Serve) -> None:
    """An application mounted inside another one answers at, and redirects to, URLs below its mount."""
    app, inngest, outside = small_app(tmp_path)

    @app.get("/book")
    @inngest.endpoint(retries=QUICK)
    async def book() -> dict[str, str]:
        return {"charged": await step.run("charge", outside.act, "charge", 1), "next": url_for("book")}

    inngest.init_app(app)
    site = serve(AsyncioDispatcherMiddleware({"/shop": app, "/other": Quart("other")}), inngest, HypercornThread)
    redirect = site.get("/shop/book")
    answer = site.follow(redirect)

    assert redirect.headers["location"].startswith("/shop/_inngest/runs/")
    assert answer.json() == {"charged": "charge#2", "next": "/shop/book"}


@pytest.mark.parametrize("outside_of_the_edge", [True, False])
def test_proxyfix_does_not_hide_the_run(tmp_path: Path, serve: Serve, outside_of_the_edge: bool) -> None:
    """Hypercorn's ProxyFix copies the scope: the run is found all the same, and re-entries see the same client."""
    app, inngest, outside = small_app(tmp_path)

    @app.get("/")
    @inngest.endpoint(retries=QUICK)
    async def handler() -> dict[str, Any]:
        seen = {"client": request.remote_addr, "url": request.url, "secure": request.is_secure}
        outside.record("pass", seen=seen)
        await step.run("flaky", outside.act, "flaky", 1)
        return seen

    if outside_of_the_edge:
        inngest.init_app(app)
        served: Any = ProxyFixMiddleware(app, mode="legacy")
    else:
        app.asgi_app = ProxyFixMiddleware(app.asgi_app, mode="legacy")  # type: ignore[method-assign]
        inngest.init_app(app)
        served = app
    site = serve(served, inngest, HypercornThread)
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}
    redirect = site.get("/", headers=headers)
    answer = site.get(redirect.headers["location"], headers=headers)

    assert redirect.headers["location"].startswith("/_inngest/")
    assert answer.json() == {"client": "203.0.113.7", "url": "https://shop.example/", "secure": True}
    assert [call["seen"] for call in outside.calls("pass")] == [answer.json()] * 2


def test_middleware_inside_the_edge_sees_each_pass(tmp_path: Path, serve: Serve) -> None:
    """ASGI middleware that was added before ``init_app`` runs for re-entries as for requests."""
    app, inngest, outside = small_app(tmp_path)
    inner = app.asgi_app

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            outside.record(scope["path"])
        await inner(scope, receive, send)

    app.asgi_app = middleware  # type: ignore[method-assign]

    @app.get("/book")
    @inngest.endpoint(retries=QUICK)
    async def book() -> str:
        return await step.run("charge", outside.act, "charge", 1)

    inngest.init_app(app)
    site = serve(app, inngest)

    assert site.follow(site.get("/book")).text == "charge#2"
    assert outside.counts()["/book"] == 2


def test_two_applications_in_one_process(tmp_path: Path, serve: Serve) -> None:
    """Each client has its own engine and database; runs of one are nothing to the other."""
    sites: list[Site] = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        sites.append(serve(*_named_app(name, folder)))
    redirects = [site.get("/") for site in sites]
    answers = [site.follow(redirect).text for site, redirect in zip(sites, redirects, strict=True)]

    assert answers == ["one#1", "two#1"]
    assert sites[0].get(redirects[1].headers["location"]).status_code == 404


def test_two_applications_on_one_database(tmp_path: Path, serve: Serve) -> None:
    """An application never takes up the run of another one, which has no such endpoint."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = serve(*_named_app("one", tmp_path, path="/one"))
    two = serve(*_named_app("two", tmp_path, path="/two"))
    pairs = [(site, site.get(path)) for _ in range(5) for site, path in ((one, "/one"), (two, "/two"))]
    answers = [site.follow(redirect).text for site, redirect in pairs]

    assert Counter(answer.partition("#")[0] for answer in answers) == {"one": 5, "two": 5}
    assert {(run.status, run.attempt) for run in one.records.runs()} == {("completed", 1)}


def test_engine_of_another_application_is_refused() -> None:
    """It knows one client: a run of the other one would be re-entered through the wrong application, and fail."""
    engine = EmbeddedEngine()
    Inngest("one", endpoint_adapter, engine)

    with pytest.raises(ConfigurationError, match="that of the application 'one': give 'two' one of its own"):
        Inngest("two", endpoint_adapter, engine)


def test_application_inside_another_one_that_has_an_edge_too(tmp_path: Path, serve: Serve) -> None:
    """A dispatcher hands the scope on as it is: each edge finds its own holder there, and neither trips over that."""
    (tmp_path / "inner").mkdir()
    outer, inngest = _named_app("outer", tmp_path, path="/outer", connected=False)
    inner, _ = _named_app("inner", tmp_path / "inner", path="/inner")
    own: Any = outer.asgi_app
    broken: list[Exception] = []

    async def dispatcher(scope: Any, receive: Any, send: Any) -> None:
        is_inner = scope["type"] == "http" and scope["path"].startswith("/inner")
        await (inner if is_inner else own)(scope, receive, send)

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        try:
            await outer(scope, receive, send)
        except Exception as error:
            broken.append(error)
            raise

    outer.asgi_app = dispatcher  # type: ignore[method-assign]
    inngest.init_app(outer)
    site = serve(watched, inngest)

    assert [site.get(path).status_code for path in ("/inner", "/outer", "/inner")] == [303] * 3
    assert broken == []


def _named_app(name: str, folder: Path, path: str = "/", *, connected: bool = True) -> tuple[Quart, Inngest]:
    app, outside = Quart(name), Outside(folder / name)
    inngest = Inngest(name, endpoint_adapter, EmbeddedEngine(database_of(folder)))

    @app.get(path)
    @inngest.endpoint(id=name, retries=QUICK)
    async def handler() -> str:
        await step.sleep("pause", "300ms")
        return f"{await step.run('charge', outside.act, name)}"

    if connected:
        inngest.init_app(app)
    return app, inngest


def test_framework_may_wait_for_the_disconnect_after_its_response(tmp_path: Path, serve: Serve) -> None:
    """A re-entry ends with a disconnect, as a server's request does: some frameworks return only then."""
    app, inngest, outside = small_app(tmp_path)

    @app.get("/")
    @inngest.endpoint(retries=QUICK)
    async def handler() -> str:
        return str(await step.run("flaky", outside.act, "flaky", 1))

    inner: Any = app.asgi_app

    async def patient(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)
        while scope["type"] == "http" and (await receive())["type"] != "http.disconnect":
            pass

    app.asgi_app = patient  # type: ignore[method-assign]
    inngest.init_app(app)
    site = serve(app, inngest)

    assert site.follow(site.get("/")).text == "flaky#2"
