"""Pages of other origins: what the wait URL allows them, and that a `fetch()` gets from the endpoint to the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.browser_rules import BlockedError, Page
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.shop import AT_ONCE, Shop, bare_shop, cancel, mount_wait, open_shop
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from testkit.colourless import Response, endpoint_adapter, over_both, request, step

pytestmark = over_both

PAGE = "https://page.example"
OTHER = "https://other.example"
EXPOSED = {"x-inngest-run-id", "location", "retry-after", "idempotent-replayed"}


def answers_of(site: Site, origin: str | None) -> dict[int, httpx.Response]:
    """Return one answer of the wait URL of each kind."""
    headers = AT_ONCE | ({"Origin": origin} if origin else {})
    waiting = site.get("/asleep").headers["location"]
    finished = site.get(f"/flaky?fail={len(site.outside.calls('flaky')) + 1}")
    site.records.wait_for_end(finished.headers[RUN_ID])
    cancelled = site.get("/asleep")
    cancel(site.records.path, cancelled.headers[RUN_ID])
    urls = {
        303: waiting,
        202: f"{waiting}&n=14",
        200: finished.headers["location"],
        410: cancelled.headers["location"],
        404: f"{waiting}x",
        400: "/wait",
    }
    answers = {status: site.get(url, headers=headers) for status, url in urls.items()}
    assert {status: answer.status_code for status, answer in answers.items()} == {status: status for status in urls}
    return answers


def cors_of(response: httpx.Response) -> dict[str, list[str]]:
    """Return what a response says of other origins."""
    names = {name for name in response.headers if name.startswith("access-control-") or name == "vary"}
    return {name: response.headers.get_list(name) for name in names}


def exposed(response: httpx.Response) -> set[str]:
    """Return the names of the headers that a page may read."""
    return {name.strip().lower() for name in response.headers["access-control-expose-headers"].split(",")}


def test_every_origin_may_read_by_default(tmp_path: Path, serve: Serve) -> None:
    """The token protects the answer, so pages of all origins may read it, and our headers with it."""
    shop = open_shop(tmp_path)
    site = serve(shop.app, shop.inngest)

    for answer in answers_of(site, PAGE).values():
        assert answer.headers.get_list("access-control-allow-origin") == ["*"]
        assert exposed(answer) == EXPOSED
        assert "vary" not in answer.headers
    assert all(cors_of(answer) == {} for answer in answers_of(site, None).values())


def test_configured_origins_may_read(tmp_path: Path, serve: Serve) -> None:
    """Only pages of these origins may; and caches are told that the answer depends on who asks."""
    shop = open_shop(tmp_path, cors_origins=[PAGE, "https://third.example"])
    site = serve(shop.app, shop.inngest)

    for answer in answers_of(site, PAGE).values():
        assert answer.headers.get_list("access-control-allow-origin") == [PAGE]
        assert exposed(answer) == EXPOSED
        assert answer.headers.get_list("vary") == ["Origin"]
    for origin in (OTHER, "null", f"{PAGE}.evil.example", "https://PAGE.example", None):
        answer = site.get("/wait", headers={"Origin": origin} if origin else {})
        assert cors_of(answer) == {"vary": ["Origin"]}, origin


def test_nobody_may_read_without_origins(tmp_path: Path, serve: Serve) -> None:
    """An empty list shuts all other origins out."""
    shop = open_shop(tmp_path, cors_origins=[])
    site = serve(shop.app, shop.inngest)

    assert cors_of(site.get("/wait", headers={"Origin": PAGE})) == {"vary": ["Origin"]}


@pytest.mark.parametrize(
    ("origins", "allowed", "vary"), [(["*"], ["*"], []), ([PAGE], [PAGE], ["Origin"]), ([OTHER], [], ["Origin"])]
)
def test_preflight_is_answered(
    tmp_path: Path, serve: Serve, origins: list[str], allowed: list[str], vary: list[str]
) -> None:
    """OPTIONS needs no run and no token, and tells a page of an allowed origin what it may send."""
    shop = open_shop(tmp_path, cors_origins=origins)
    site = serve(shop.app, shop.inngest)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "prefer"}
    for url in ("/wait", "/_inngest/runs/x/output", site.get("/asleep").headers["location"]):
        answer = site.client.options(url, headers=asked)

        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers.get_list("access-control-allow-origin") == allowed
        assert answer.headers["access-control-allow-methods"] == "GET, HEAD, DELETE, OPTIONS"
        names = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
        assert {"accept", "content-type", "last-event-id", "prefer"} <= names
        assert int(answer.headers["access-control-max-age"]) == 3600
        assert answer.headers.get_list("vary") == vary


def cors_shop(folder: Path, *, everywhere: bool, credentials: bool = False, **options: Any) -> Shop:
    """
    Return an application that lets PAGE use its API, as CORS extensions do it.

    Args:
        everywhere: Whether its CORS extension covers all routes, the wait URL too, or ``/api/`` alone.
        credentials: Whether it lets cookies come along.
    """
    shop = bare_shop(folder, endpoint_adapter.with_options(async_redirect_url="/wait"), **options)

    @shop.app.after_request
    async def allow(response: Response) -> Response:
        if (everywhere or request.path.startswith("/api/")) and request.headers.get("Origin") == PAGE:
            response.headers["Access-Control-Allow-Origin"] = PAGE
            response.headers["Access-Control-Expose-Headers"] = "X-Inngest-Run-Id, X-Total"
            response.headers.add("Vary", "Origin")
            if credentials:
                response.headers["Access-Control-Allow-Credentials"] = "true"
            if request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Headers"] = "content-type, idempotency-key, authorization"
                response.headers["Access-Control-Allow-Methods"] = "GET, POST"
        return response

    @shop.app.route("/api/order", methods=["GET", "POST"])
    @shop.inngest.endpoint(retries=QUICK)
    async def order() -> tuple[str, dict[str, str]]:
        fail = request.args.get("fail", 0, type=int)
        return await step.run("flaky", shop.outside.act, "flaky", fail), {"X-Total": "7", "Vary": "Cookie"}

    shop.inngest.init_app(shop.app)
    mount_wait(shop)
    return shop


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("origins", [["*"], [PAGE]])
def test_page_gets_its_answer(tmp_path: Path, serve: Serve, everywhere: bool, origins: list[str]) -> None:
    """A simple fetch of another origin is redirected, and reads the answer and the run's ID."""
    shop = cors_shop(tmp_path, everywhere=everywhere, cors_origins=origins)
    site = serve(shop.app, shop.inngest)
    page = Page(site.client, PAGE)
    get, head = page.fetch("/api/order?fail=1"), page.fetch("/api/order?fail=3", "HEAD")

    assert (get.status_code, get.text) == (200, "flaky#2")
    assert (head.status_code, head.text) == (200, "")
    assert get.url.path == head.url.path == "/wait"
    assert [get.headers[RUN_ID], head.headers[RUN_ID]] == [run.id for run in site.records.runs()]
    assert page.preflights == []


def test_page_of_another_origin_gets_nothing(tmp_path: Path, serve: Serve) -> None:
    """With configured origins, a page that somehow has a wait URL cannot read it; neither can it call the API."""
    shop = cors_shop(tmp_path, everywhere=False, cors_origins=[PAGE])
    site = serve(shop.app, shop.inngest)
    location = site.get("/api/order?fail=1").headers["location"]
    page = Page(site.client, OTHER)

    for url in (location, "/api/order", "/api/order?fail=1"):
        with pytest.raises(BlockedError):
            page.fetch(url)
    assert Page(site.client, PAGE).fetch(location).status_code == 200


@pytest.mark.parametrize("header", ["Idempotency-Key", "Authorization"])
def test_page_that_sends_headers_gets_its_answer(tmp_path: Path, serve: Serve, header: str) -> None:
    """A browser keeps the request's headers when it is redirected, and asks the wait URL for leave to send them."""
    shop = cors_shop(tmp_path, everywhere=False)
    site = serve(shop.app, shop.inngest)
    page = Page(site.client, PAGE)
    answer = page.fetch("/api/order?fail=1", "POST", {"Content-Type": "application/json", header: "order-1"})

    assert (answer.status_code, answer.text) == (200, "flaky#2")
    assert page.preflights == ["/api/order", "/wait"]


def test_page_with_cookies_gets_its_answer(tmp_path: Path, serve: Serve) -> None:
    """Where the application's own CORS lets cookies come along everywhere, the wait URL does not take that back."""
    shop = cors_shop(tmp_path, everywhere=True, credentials=True)
    site = serve(shop.app, shop.inngest)
    answer = Page(site.client, PAGE, credentials=True).fetch("/api/order?fail=1")

    assert (answer.status_code, answer.text) == (200, "flaky#2")


def test_answer_for_one_origin_is_not_sent_to_another(tmp_path: Path, serve: Serve) -> None:
    """The recorded answer names the origin of the first request; who waits elsewhere gets what is said to him."""
    shop = cors_shop(tmp_path, everywhere=False, cors_origins=[PAGE, OTHER])
    site = serve(shop.app, shop.inngest)
    location = site.get("/api/order?fail=1", headers={"Origin": PAGE}).headers["location"]
    answer = site.get(location, headers={"Origin": OTHER})

    assert answer.status_code == 200
    assert answer.headers.get_list("access-control-allow-origin") == [OTHER]
    assert exposed(answer) >= EXPOSED
    assert {"Cookie", "Origin"} <= {item.strip() for item in answer.headers["vary"].split(",")}


def test_our_answers_at_the_endpoint_keep_the_applications_cors(tmp_path: Path, serve: Serve) -> None:
    """Redirects and refusals that stand in for the handler's response can be read by the pages that may read that."""
    shop = cors_shop(tmp_path, everywhere=False)
    site = serve(shop.app, shop.inngest)
    headers = {"Origin": PAGE, "Idempotency-Key": "key"}
    redirect = site.get("/api/order?fail=1", headers=headers)
    site.records.wait_for_end(redirect.headers[RUN_ID])
    answers = [
        redirect,
        site.get("/api/order?fail=1", headers=headers),
        site.get("/api/order?fail=2", headers=headers),
        site.get("/api/order", headers=headers | {"Idempotency-Key": ""}),
        site.client.post("/api/order", headers={"Origin": PAGE}, content=bytes(2 * 1024 * 1024)),
    ]

    assert [answer.status_code for answer in answers] == [303, 200, 422, 400, 413]
    for answer in answers:
        assert answer.headers.get_list("access-control-allow-origin") == [PAGE]
        assert "X-Inngest-Run-Id" in answer.headers["access-control-expose-headers"]
        assert "Origin" in answer.headers["vary"]


def test_options_of_an_endpoint_is_the_frameworks(tmp_path: Path, serve: Serve) -> None:
    """The automatic OPTIONS of an endpoint's route makes no run and runs no handler."""
    shop = cors_shop(tmp_path, everywhere=False)
    site = serve(shop.app, shop.inngest)
    answer = site.client.options("/api/order", headers={"Idempotency-Key": "key"})

    assert answer.status_code == 200
    assert {item.strip() for item in answer.headers["allow"].split(",")} == {"GET", "HEAD", "OPTIONS", "POST"}
    assert RUN_ID not in answer.headers
    site.records.wait_for_end(site.get("/api/order").headers[RUN_ID])
    assert len(site.records.runs()) == 1
    assert site.outside.counts() == {"flaky": 1}
