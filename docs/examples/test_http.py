"""What `http.md` says of statuses, headers and numbers is so. The whole contract: `tests/adapters/test_contract_*`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import EmbeddedEngine, Inngest, Limits, NonRetriableError, step
from inngest_durable._core import http, idempotency
from inngest_durable.quart import endpoint_adapter
from inngest_durable.testing import MemoryStore, VirtualClock
from quart import Quart, request

PAGE = (Path(__file__).parents[1] / "http.md").read_text()
KIB = 1024
SIZES = {"MiB": KIB * KIB, "KiB": KIB}


@dataclass
class Site:
    """An application, its client, and its time."""

    client: Any
    inngest: Inngest
    clock: VirtualClock

    async def wait_url(self, path: str) -> str:
        """Send a request that has to wait; return where it is sent."""
        answer = await self.client.post(path)
        assert answer.status_code == 303
        location: str = answer.headers["location"]
        return location


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock = VirtualClock()
    engine = EmbeddedEngine(store=MemoryStore(), clock=clock)
    inngest = Inngest("contract", endpoint_adapter, engine, event_key="k1", limits=Limits(request_body=100))
    app = Quart(__name__)

    async def refuse() -> None:
        raise NonRetriableError("never")

    @app.post("/naps")
    @inngest.endpoint(timeout="48h")
    async def nap() -> Any:
        await step.sleep("nap", request.args.get("for", "24h"))
        return {"slept": True}, 201, {"Cache-Control": "public", "Set-Cookie": "a=b"}

    @app.post("/failures")
    @inngest.endpoint
    async def fail() -> Any:
        await step.run("fail", refuse)

    inngest.init_app(app)
    async with app.test_app():
        yield Site(app.test_client(), inngest, clock)


def rows(heading: str, number: int = 0) -> list[str]:
    """Return the first cells of a table below *heading*."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)[number]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


async def test_statuses_of_the_wait_url(site: Site) -> None:
    """Each of the table, in its order."""
    gone = await site.wait_url("/naps")
    await site.client.delete(gone)
    late = await site.wait_url("/naps?for=96h")
    url = await site.wait_url("/naps")
    no_wait = {"Prefer": "wait=0"}
    seen = [
        *[(await site.client.get(found, headers=no_wait)).status_code for found in (url, f"{url}&n=14")],
        *[(await site.client.get(found)).status_code for found in (url.partition("?")[0], f"{url}x", gone)],
    ]
    await site.clock.advance("48h")
    ended = await site.client.get(url)

    assert seen == [303, 202, 400, 404, 410]
    assert (ended.status_code, (await site.client.get(late)).status_code) == (201, 504)
    assert ended.headers["cache-control"] == "no-store"
    assert ended.headers["referrer-policy"] == "no-referrer"
    assert [re.findall(r"`(\d+)`", row) for row in rows("The wait URL", 1)] == [
        *([], ["303"], ["202"], ["400"], ["404"], ["410"], ["500"], ["504"]),
    ]


async def test_deleting_the_wait_url_cancels(site: Site) -> None:
    """`202`, twice; `409` for a run that has ended."""
    url = await site.wait_url("/naps")
    ended = await site.wait_url("/naps?for=1s")
    await site.clock.advance("1s")

    assert [(await site.client.delete(found)).status_code for found in (url, url, ended)] == [202, 202, 409]


async def test_statuses_of_an_endpoint(site: Site) -> None:
    """Those that do not need a broken disk."""
    keyed = {"Idempotency-Key": "7"}
    await site.client.post("/naps?for=1s", headers=keyed)
    seen = [
        (await site.client.post("/naps", headers={"Idempotency-Key": "x" * 256})).status_code,
        (await site.client.post("/naps", data=b"x" * 101)).status_code,
        (await site.client.post("/naps?for=2s", headers=keyed)).status_code,
        (await site.client.post("/failures")).status_code,
        (await site.client.post("/naps?for=1s", headers=keyed)).status_code,
    ]
    await site.clock.advance("1s")
    replayed = await site.client.post("/naps?for=1s", headers=keyed)

    assert seen == [400, 413, 422, 500, 303]
    assert (replayed.status_code, replayed.headers["idempotent-replayed"]) == (201, "true")
    assert "set-cookie" not in replayed.headers
    assert {"`400`", "`410`", "`413`", "`422`"} < set(rows("A request to an endpoint", 1))


async def test_preflight_allows_what_the_page_says(site: Site) -> None:
    """Methods, headers, and how long that is kept."""
    url = await site.wait_url("/naps")
    allowed = await site.client.options(url, headers={"Origin": "https://shop.example"})
    words = " ".join(PAGE.split())

    assert allowed.status_code == 204
    assert f"methods `{allowed.headers['access-control-allow-methods']}`" in words
    assert f"headers `{allowed.headers['access-control-allow-headers']}`" in words
    assert allowed.headers["access-control-max-age"] == "3600"
    assert "kept for an hour" in words
    exposed = allowed.headers["access-control-expose-headers"].split(", ")
    assert [name for name in exposed if f"`{name}`" not in PAGE] == []


async def test_events_are_taken_with_the_key(site: Site) -> None:
    """Each answer that the page names."""
    event = {"name": "trip/approved", "data": {}}
    taken = await site.client.post("/_inngest/e/k1", json=event)
    body = await taken.get_json()

    assert (taken.status_code, len(body["ids"]), body["status"]) == (200, 1, 200)
    assert (await site.client.post("/_inngest/e/k2", json=event)).status_code == 401
    assert (await site.client.post("/_inngest/e/k1", json=["?"])).status_code == 400
    assert (await site.client.post("/_inngest/e/k1", json={**event, "data": {"x": "x" * 100}})).status_code == 413


def test_limits_are_the_defaults() -> None:
    """All of them, with their values."""
    told = re.findall(r"^\| `(\w+)` \| ([\d,]+) ?(\w*) \|", PAGE, re.MULTILINE)
    sizes = {name: int(number.replace(",", "")) * SIZES.get(unit, 1) for name, number, unit in told}

    assert sizes == {name: getattr(Limits(), name) for name in Limits.__struct_fields__}


def test_numbers_are_those_of_the_code() -> None:
    assert (http.WAIT_SECONDS, http.WAIT_ROUNDS, idempotency.LONGEST_KEY) == (25, 15, 255)
    for text in ("held for 25 s", "redirected 15 times", "longer than 255 characters"):
        assert text in PAGE


def test_headers_that_are_not_repeated_are_named() -> None:
    """Those of a connection, and what the server writes anew."""
    missing = [name for name in http._NOT_RECORDED if f"`{name.decode()}`" not in PAGE.lower()]

    assert missing == []
