"""Applications with endpoints at several hosts or sub-domains: the wait URL is at each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inngest_durable import Inngest

from packages.inngest_durable.tests.adapters.application import QUICK, make_client
from packages.inngest_durable.tests.adapters.conftest import Serve
from testkit.colourless import adapter_of, endpoint_adapter, over_both, request, step, web
from testkit.outside import Outside

pytestmark = over_both

HOSTS = ("shop.example", "api.shop.example", "api.eu.shop.example")


def place_of(kind: str, host: str) -> dict[str, str]:
    """Return the options of a route that is at *host*."""
    return {"host": host} if kind == "host" else {"subdomain": host.removesuffix(HOSTS[0]).rstrip(".")}


def app_of(kind: str, folder: Path) -> tuple[Any, Inngest]:
    """Return an application with the endpoint /flaky at each of `HOSTS`, told apart by *kind*."""
    framework: Any = getattr(web().module, "Quart" if not web().blocks else "Flask")
    inngest, outside = make_client(adapter_of(endpoint_adapter), folder), Outside(folder)
    if kind == "host":
        app = framework("shop", host_matching=True, static_host=HOSTS[0])
    else:
        app = framework("shop", subdomain_matching=True)
        app.config["SERVER_NAME"] = HOSTS[0]

    async def flaky() -> str:
        return await step.run("flaky", outside.act, "flaky", 1)

    view = inngest.endpoint(id="flaky", retries=QUICK)(flaky)
    for host in HOSTS:
        app.add_url_rule("/flaky", "flaky", view, **place_of(kind, host))
    inngest.init_app(app)
    return app, inngest


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("kind", ["host", "subdomain"])
def test_wait_url_is_where_the_endpoint_is(tmp_path: Path, serve: Serve, kind: str, host: str) -> None:
    """The redirect is a path, so it leads to the host of the endpoint: there is the wait URL, and the run's events."""
    site = serve(*app_of(kind, tmp_path))
    redirect = site.get("/flaky", headers={"host": host})
    answer = site.get(redirect.headers["location"], headers={"host": host})
    events = site.get(redirect.headers["location"].replace("/output?", "/events?"), headers={"host": host})

    assert (answer.status_code, answer.text) == (200, "flaky#2")
    assert events.text.rpartition("event: ")[2].startswith("result")


@pytest.mark.parametrize("kind", ["host", "subdomain"])
def test_child_run_is_at_the_host_of_its_endpoint(tmp_path: Path, serve: Serve, kind: str) -> None:
    """Which may be another one than that of the caller."""
    app, inngest = app_of(kind, tmp_path)

    @inngest.endpoint(id="where", retries=0)
    async def where() -> dict[str, str]:
        return {"host": request.host}

    @inngest.endpoint(id="caller", retries=0)
    async def caller() -> Any:
        return await step.invoke("call", endpoint="where")

    app.add_url_rule("/where", "where", where, **place_of(kind, HOSTS[1]))
    app.add_url_rule("/caller", "caller", caller, **place_of(kind, HOSTS[0]))
    site = serve(app, inngest)
    redirect = site.get("/caller", headers={"host": HOSTS[0]})
    answer = site.get(redirect.headers["location"], headers={"host": HOSTS[0]})

    assert answer.json() == {"host": HOSTS[1]}


def test_health_is_told_at_any_host(tmp_path: Path, serve: Serve) -> None:
    """A balancer asks by the worker's own address. With sub-domains, the framework has no route there at all."""
    site = serve(*app_of("host", tmp_path))

    assert site.get("/_inngest/health").json() == {"status": "ready"}
    assert site.get("/_inngest/health/live").json() == {"status": "alive"}
