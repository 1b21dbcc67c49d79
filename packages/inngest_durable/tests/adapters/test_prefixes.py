"""Prefixes and other parts of a request that middleware inside the edge makes: redirects and re-entries know them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypercorn.middleware.dispatcher import AsyncioDispatcherMiddleware
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.shop import AT_ONCE, Shop, bare_shop, mount_wait
from packages.inngest_durable.tests.adapters.site import Site
from testkit.colourless import endpoint_adapter, over_both, request, step, url_for, web

pytestmark = over_both


def behind(app: Any, change: Callable[[Any, str, str], None]) -> None:
    """Put middleware round *app* that lets *change* work on what the server made of each request, in place."""
    if web().blocks:
        wsgi_app = app.wsgi_app

        def wsgi_middleware(environ: Any, start_response: Any) -> Any:
            change(environ, "SCRIPT_NAME", "PATH_INFO")
            return wsgi_app(environ, start_response)

        app.wsgi_app = wsgi_middleware
        return
    asgi_app = app.asgi_app

    async def asgi_middleware(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            change(scope, "root_path", "path")
        await asgi_app(scope, receive, send)

    app.asgi_app = asgi_middleware


def flaky_shop(folder: Path, path: str, redirect_url: str | None = None) -> Shop:
    """Return a shop whose endpoint at *path* fails once, and answers its own URL."""
    shop = bare_shop(folder, endpoint_adapter.with_options(async_redirect_url=redirect_url))

    @shop.app.get(path)
    @shop.inngest.endpoint(id="flaky", retries=QUICK)
    async def flaky() -> str:
        result = await step.run("flaky", shop.outside.act, "flaky", 1)
        return f"{result} at {url_for('flaky')}, asked {request.root_path}{request.path}"

    return shop


def served(shop: Shop, serve: Serve, **options: Any) -> Site:
    """Connect and serve *shop*."""
    mount_wait(shop)
    shop.inngest.init_app(shop.app)
    return serve(shop.app, shop.inngest, **options)


@pytest.mark.parametrize("redirect_url", [None, "/wait"])
def test_prefix_that_middleware_sets_is_kept(tmp_path: Path, serve: Serve, redirect_url: str | None) -> None:
    """As Werkzeug's ProxyFix does, which takes the prefix from a header that the proxy sends."""

    def set_prefix(request: Any, root_path: str, path: str) -> None:
        request[root_path] = "/pre"
        if not web().blocks:
            # In an ASGI scope the path has the prefix too.
            request[path] = f"/pre{request[path]}"

    shop = flaky_shop(tmp_path, "/flaky", redirect_url)
    behind(shop.app, set_prefix)
    site = served(shop, serve)
    first = site.get("/flaky").headers["location"]
    second = site.get(first.removeprefix("/pre"), headers=AT_ONCE | {"Prefer": "wait=20"})

    assert first.startswith("/pre/wait?" if redirect_url else "/pre/_inngest/runs/")
    assert second.text == "flaky#2 at /pre/flaky, asked /pre/flaky"


@pytest.mark.parametrize("root_path", ["/", "/pre/"])
def test_prefix_may_end_with_a_slash(tmp_path: Path, serve: Serve, root_path: str) -> None:
    """Two slashes in the redirect would lead to another host, or to no route."""
    site = served(flaky_shop(tmp_path, "/flaky"), serve, root_path=root_path)
    location = site.get("/flaky").headers["location"]

    assert location.startswith(f"{root_path}_inngest/runs/")
    assert site.get(location.removeprefix(root_path.rstrip("/"))).text.startswith("flaky#2")


def test_path_that_middleware_changes_is_changed_once_at_each_pass(tmp_path: Path, serve: Serve) -> None:
    """A re-entry begins with the request as the server made it, and comes through the middleware again."""

    def insert_version(request: Any, root_path: str, path: str) -> None:
        if not request[path].startswith("/_inngest/"):
            request[path] = f"/v2{request[path]}"

    shop = flaky_shop(tmp_path, "/v2/flaky")
    behind(shop.app, insert_version)
    site = served(shop, serve)

    assert site.follow(site.get("/flaky")).text == "flaky#2 at /v2/flaky, asked /v2/flaky"


def test_header_that_middleware_adds_is_added_once_at_each_pass(tmp_path: Path, serve: Serve) -> None:
    """The list of an ASGI scope's headers is no part of the record either."""

    def add(request: Any, root_path: str, path: str) -> None:
        if web().blocks:
            request["HTTP_X_SEEN"] = f"{request.get('HTTP_X_SEEN', '')}I"
        else:
            request["headers"].append((b"x-seen", b"I"))

    shop = bare_shop(tmp_path)
    behind(shop.app, add)

    @shop.app.get("/")
    @shop.inngest.endpoint(retries=QUICK)
    async def handler() -> str:
        await step.run("flaky", shop.outside.act, "flaky", 1)
        return ",".join(request.headers.getlist("X-Seen"))

    site = served(shop, serve)

    assert site.follow(site.get("/")).text == "I"


def test_endpoint_of_an_application_inside_leads_to_the_wait_url_outside(tmp_path: Path, serve: Serve) -> None:
    """A mounted application that is not connected by itself has no wait URL; the one round it has."""
    shop = bare_shop(tmp_path)
    inner = web().app("inner")

    @shop.inngest.endpoint(id="flaky", retries=QUICK)
    async def flaky() -> str:
        return await step.run("flaky", shop.outside.act, "flaky", 1)

    inner.add_url_rule("/flaky", "flaky", flaky)
    app: Any = shop.app
    if web().blocks:
        app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/inner": inner})
    else:
        app.asgi_app = AsyncioDispatcherMiddleware({"/inner": inner, "/": app.asgi_app})
    site = served(shop, serve)

    assert site.follow(site.get("/inner/flaky")).text == "flaky#2"
