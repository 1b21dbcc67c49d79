"""Where a client is redirected: the default, `with_options(async_redirect_url=)`, prefixes, and `endpoint_proxy()`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypercorn.middleware.dispatcher import AsyncioDispatcherMiddleware
from inngest_durable import ConfigurationError, Inngest
from quart import Quart

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.shop import AT_ONCE, bare_shop, mount_wait, open_shop, query_of
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from testkit.colourless import (
    EACH_SERVER,
    endpoint_adapter,
    over_both,
    over_quart_only,
    redirect,
    step,
    web,
)
from testkit.servers import HypercornThread, UvicornThread

pytestmark = over_both


def token_of(site: Site, run_id: str) -> str:
    """Return the token of a run, as the engine makes it."""
    return site.inngest.engine.token(run_id)


def test_with_options_leaves_the_shared_adapter_alone(tmp_path: Path, serve: Serve) -> None:
    """Of two clients made from one adapter, each redirects as it was told, in the order in which they were made too."""
    before = endpoint_adapter.async_redirect_url
    proxied = open_shop(tmp_path / "one", endpoint_adapter.with_options(async_redirect_url="/wait"))
    usual = open_shop(tmp_path / "two", endpoint_adapter)
    locations = [serve(shop.app, shop.inngest).get("/asleep").headers["location"] for shop in (proxied, usual)]

    assert before is None
    assert endpoint_adapter.async_redirect_url is None
    assert locations[0].startswith("/wait?")
    assert locations[1].startswith("/_inngest/runs/")


@pytest.mark.parametrize(
    ("redirect_url", "base"),
    [
        ("/wait", "/wait?"),
        ("/wait?lang=de", "/wait?lang=de&"),
        ("https://shop.example/wait", "https://shop.example/wait?"),
        ("https://shop.example/wait?lang=de", "https://shop.example/wait?lang=de&"),
    ],
)
def test_redirect_url_gets_run_id_and_token(tmp_path: Path, serve: Serve, redirect_url: str, base: str) -> None:
    """A path or a full URL, with or without a query of its own, gets both as query parameters and stays as it is."""
    shop = open_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url=redirect_url))
    site = serve(shop.app, shop.inngest)
    redirect = site.get("/asleep")
    run_id = redirect.headers[RUN_ID]

    assert redirect.headers["location"] == f"{base}runId={run_id}&token={token_of(site, run_id)}"


def test_redirect_url_opens_the_run(tmp_path: Path, serve: Serve) -> None:
    """What the client is sent to gives the answer, whatever else is in the query."""
    shop = open_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url="/wait?lang=de"))
    site = serve(shop.app, shop.inngest)
    redirect = site.get("/flaky?fail=1")
    answer = site.get(redirect.headers["location"])

    assert redirect.status_code == 303
    assert (answer.status_code, answer.text) == (200, "flaky#2")


@pytest.mark.parametrize(
    "redirect_url",
    [
        *("", "wait", "localhost:8000/wait", "//shop.example/wait", "?lang=de", "https:"),
        *("/wait here", "/wait\r\nX-Other: header", "/wait\n", b"/wait", 7),
    ],
)
def test_redirect_url_that_is_none_is_refused(redirect_url: Any) -> None:
    """A relative one would lead below the endpoint's URL; an empty one to it, where it would begin a run each time."""
    with pytest.raises(ConfigurationError, match=r"is neither a path nor a full URL: write '/wait' or 'https://"):
        endpoint_adapter.with_options(async_redirect_url=redirect_url)


def test_callable_that_would_have_to_be_awaited_is_refused() -> None:
    """It would not be, and each redirect would fail."""

    async def url_of(*, run_id: str, token: str) -> str:
        return "/wait"

    with pytest.raises(ConfigurationError, match=r"url_of is `async def`.*make it a `def`"):
        endpoint_adapter.with_options(async_redirect_url=url_of)  # type: ignore[arg-type]


def test_callable_with_other_parameters_is_refused() -> None:
    """Each redirect would fail."""
    with pytest.raises(ConfigurationError, match="<lambda> cannot be called with run_id= and token="):
        endpoint_adapter.with_options(async_redirect_url=lambda run: f"/wait/{run}")


@pytest.mark.parametrize(("made", "told"), [(None, "NoneType"), ("wait?token=secret", "a text that is neither")])
def test_callable_that_returns_no_url_is_told(
    tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture, made: Any, told: str
) -> None:
    """A relative one would lead below the endpoint's URL. It is not quoted: it holds the run's token."""
    shop = open_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url=lambda run_id, token: made))
    site = serve(shop.app, shop.inngest)

    assert site.get("/flaky?fail=1").status_code == 500
    assert "<lambda> returned " + told in caplog.text
    assert "secret" not in caplog.text
    assert site.records.wait_for_only_run(timeout_seconds=5).status == "completed"


def test_callable_makes_the_redirect_url(tmp_path: Path, serve: Serve) -> None:
    """A callable gets *run_id* and *token* by name, and its URL is taken as it is, below no prefix."""

    def url(*, run_id: str, token: str) -> str:
        return f"https://shop.example/orders/{run_id}#{token}"

    shop = open_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url=url))
    site = serve(shop.app, shop.inngest, root_path="/prefix")
    redirect = site.get("/asleep")
    run_id = redirect.headers[RUN_ID]

    assert redirect.headers["location"] == f"https://shop.example/orders/{run_id}#{token_of(site, run_id)}"


def test_callable_that_raises_costs_the_client_its_redirect_and_the_run_nothing(tmp_path: Path, serve: Serve) -> None:
    """The client is told of the error; the run, which was accepted, completes by itself."""

    def broken(*, run_id: str, token: str) -> str:
        raise LookupError("no URL for you")

    shop = open_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url=broken))
    site = serve(shop.app, shop.inngest)
    response = site.get("/flaky?fail=1")

    assert response.status_code == 500
    assert site.records.wait_for_only_run().status == "completed"
    assert site.outside.counts() == {"flaky": 2}


def test_callable_may_lead_to_a_route_with_the_run_in_its_path(tmp_path: Path, serve: Serve) -> None:
    """The proxy takes the run's ID from the path as well as from the query."""
    shop = bare_shop(
        tmp_path, endpoint_adapter.with_options(async_redirect_url=lambda run_id, token: f"/o/{run_id}?token={token}")
    )

    @shop.app.get("/")
    @shop.inngest.endpoint(retries=QUICK)
    async def handler() -> str:
        return await step.run("flaky", shop.outside.act, "flaky", 1)

    shop.inngest.init_app(shop.app)
    shop.app.add_url_rule("/o/<run_id>", view_func=shop.inngest.endpoint_proxy(), methods=["GET", "OPTIONS"])
    site = serve(shop.app, shop.inngest)
    answer = site.get(site.get("/").headers["location"])

    assert (answer.status_code, answer.text) == (200, "flaky#2")


@pytest.mark.parametrize("server", EACH_SERVER)
@pytest.mark.parametrize("redirect_url", [None, "/wait", "/wait?lang=de"])
def test_redirects_keep_the_root_path(tmp_path: Path, serve: Serve, server: int, redirect_url: str | None) -> None:
    """Below a prefix of a proxy, the first redirect and those of the wait URL to itself all stay below it."""
    shop = open_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url=redirect_url))
    site = serve(shop.app, shop.inngest, web().servers[server], root_path="/my shop")
    # Uvicorn takes a path from which the proxy has stripped the prefix; hypercorn wants it whole.
    strips = isinstance(site.server, UvicornThread)
    prefix = quote("/my shop")

    def get(location: str) -> str:
        response = site.get(location.removeprefix(prefix) if strips else location, headers=AT_ONCE)
        assert response.status_code == 303, response.text
        return response.headers["location"]

    first = get(f"{prefix}/asleep")
    second = get(first)

    assert first.startswith(f"{prefix}/{'wait?' if redirect_url else '_inngest/runs/'}")
    assert second == f"{first}&n=1"
    assert get(second) == f"{first}&n=2"


@pytest.mark.parametrize("server", EACH_SERVER)
def test_relative_redirect_of_a_handler_leads_where_it_did(tmp_path: Path, serve: Serve, server: int) -> None:
    """Relative to the endpoint, and not to the wait URL, whose path is another one; below a prefix too."""
    shop = bare_shop(tmp_path)

    @shop.app.get("/orders/<order>")
    @shop.inngest.endpoint(id="order", retries=QUICK)
    async def order(order: str) -> Any:
        await step.run("flaky", shop.outside.act, order, 1)
        return redirect("done?of=a%20b")

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest, web().servers[server], root_path="/my shop")
    strips = isinstance(site.server, UvicornThread)
    waits = site.get("/orders/1" if strips else "/my%20shop/orders/1").headers["location"]
    answer = site.get(waits.removeprefix("/my%20shop") if strips else waits)

    assert (answer.status_code, answer.headers["location"]) == (302, "/my%20shop/orders/done?of=a%20b")


def test_answer_to_head_can_be_had_by_get(tmp_path: Path, serve: Serve) -> None:
    """The URL where a HEAD waits, opened in a browser: no body is missing there."""
    shop = open_shop(tmp_path)
    site = serve(shop.app, shop.inngest)
    location = site.client.head("/flaky?fail=1").headers["location"]
    heads = [site.client.head(location).headers["content-length"] for _ in range(2)]

    assert heads == [str(len("flaky#2"))] * 2
    assert site.get(location).status_code == 200


def test_full_url_gets_no_root_path(tmp_path: Path, serve: Serve) -> None:
    """A full URL may lead to another host, where our prefix means nothing."""
    shop = open_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url="https://shop.example/wait"))
    site = serve(shop.app, shop.inngest, root_path="/prefix")

    assert site.get("/asleep").headers["location"].startswith("https://shop.example/wait?runId=")


@over_quart_only
def test_mount_keeps_the_proxy_below_it(tmp_path: Path, serve: Serve) -> None:
    """An application mounted inside another one sends clients to its own proxy, there and back again."""
    shop = open_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url="/wait"))
    site = serve(AsyncioDispatcherMiddleware({"/shop": shop.app, "/": Quart("other")}), shop.inngest, HypercornThread)
    location = site.get("/shop/asleep").headers["location"]
    again = site.get(location, headers=AT_ONCE).headers["location"]

    assert location.startswith("/shop/wait?runId=")
    assert again == f"{location}&n=1"


def test_proxy_and_default_url_are_there_together(tmp_path: Path, serve: Serve) -> None:
    """The run of a default redirect is also answered by the proxy, and the other way round, and both alike."""
    shop = open_shop(tmp_path)
    site = serve(shop.app, shop.inngest)
    location = site.get("/flaky?fail=1").headers["location"]
    run_id, token = location.split("/")[3], query_of(location)["token"]
    default = site.get(location)
    proxied = site.get("/wait", params={"runId": run_id, "token": token})

    assert default.text == proxied.text == "flaky#2"
    assert [item for item in default.headers.multi_items() if item[0] != "date"] == [
        item for item in proxied.headers.multi_items() if item[0] != "date"
    ]


@pytest.mark.parametrize("url", ["default", "proxy"])
def test_proxy_takes_get_head_and_options(tmp_path: Path, serve: Serve, url: str) -> None:
    """Nothing can be sent to a wait URL; HEAD is as GET without the body; OPTIONS tells what is allowed."""
    shop = open_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url="/wait" if url == "proxy" else None))
    site = serve(shop.app, shop.inngest)
    location = site.get("/flaky?fail=1").headers["location"]
    get, head, options = (site.client.request(method, location) for method in ("GET", "HEAD", "OPTIONS"))
    refused = [site.client.request(method, location).status_code for method in ("POST", "PUT", "PATCH")]

    assert (get.status_code, get.text) == (200, "flaky#2")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"] == str(len("flaky#2"))
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["allow"] == "GET, HEAD, DELETE, OPTIONS"
    assert refused == [405] * 3


@pytest.mark.parametrize("order", ["before init_app", "after init_app"])
def test_proxy_is_mounted_before_or_after_init_app(tmp_path: Path, serve: Serve, order: str) -> None:
    """The order in which an application is put together does not matter."""
    shop = bare_shop(tmp_path, endpoint_adapter.with_options(async_redirect_url="/wait"))

    @shop.app.get("/")
    @shop.inngest.endpoint(retries=QUICK)
    async def handler() -> str:
        return await step.run("flaky", shop.outside.act, "flaky", 1)

    if order == "before init_app":
        mount_wait(shop)
        shop.inngest.init_app(shop.app)
    else:
        shop.inngest.init_app(shop.app)
        mount_wait(shop)
    site = serve(shop.app, shop.inngest)

    assert site.get(site.get("/").headers["location"]).text == "flaky#2"


def test_proxy_without_an_adapter_says_which() -> None:
    """A client made without an adapter has no proxy; the error shows the import."""
    with pytest.raises(ConfigurationError, match=r"endpoint_proxy\(\) needs an adapter.*inngest_durable\.quart"):
        Inngest("shop").endpoint_proxy()
