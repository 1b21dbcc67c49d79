"""The limits of a run: what is over one is refused before it is written, and the error says how to raise it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inngest_durable
import pytest
from inngest_durable import LimitExceededError, StepError
from inngest_durable._core.limits import KIB, MIB, Limits

from packages.inngest_durable.tests.adapters.application import QUICK
from packages.inngest_durable.tests.adapters.conftest import Serve
from packages.inngest_durable.tests.adapters.shop import Shop, bare_shop
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site
from testkit.colourless import (
    EACH_SERVER,
    Response,
    body_chunks,
    get_data,
    over_both,
    over_quart_only,
    request,
    step,
    web,
)

pytestmark = over_both


def is_clear(text: str, name: str, value: int, limit: int) -> bool:
    """Tell whether an error names the limit, the value that was over it, and how to raise it."""
    return f"{name} is {value:,}" in text and f"{limit:,}" in text and f"Inngest(limits=Limits({name}=" in text


def in_chunks(size: int) -> Iterator[bytes]:
    """Give *size* bytes in chunks, so that no length is declared."""
    chunk = bytes(64 * KIB)
    for start in range(0, size, len(chunk)):
        yield chunk[: size - start]


def texts(folder: Path, *, event_key: str | None = None, **limits: int) -> Shop:
    """Return an application whose handlers make texts of the sizes that their queries name."""
    shop = bare_shop(folder, limits=Limits(**limits), event_key=event_key)
    outside = shop.outside

    def text(size: int) -> str:
        outside.record("text")
        return "x" * size

    @shop.app.post("/upload")
    @shop.inngest.endpoint(retries=QUICK)
    async def upload() -> str:
        outside.record("handler")
        return await step.run("size", lambda size: str(size), len(await get_data()))

    @shop.app.get("/steps")
    @shop.inngest.endpoint(id="steps", retries=QUICK)
    async def steps() -> Any:
        """Make a step of each size; a failed one is answered with its error."""
        try:
            for number, size in enumerate(map(int, request.args["sizes"].split(","))):
                await step.run(f"text-{number}", text, size)
                if "fail" in request.args:
                    await step.run(f"flaky-{number}", outside.act, "flaky", number + 1)
        except StepError as error:
            return {"step": error.step_id, "error": error.name, "text": error.message, "attempts": error.attempt}, 409
        return "all fit"

    @shop.app.get("/response")
    @shop.inngest.endpoint(retries=QUICK)
    async def response() -> Any:
        await step.run("flaky", outside.act, "flaky", request.args.get("fail", 0, type=int))
        body = b"x" * request.args.get("size", 0, type=int)
        return Response(in_chunks(len(body)) if "streamed" in request.args else body, 201, {"X-Kept": "yes"})

    shop.inngest.init_app(shop.app)
    return shop


def test_defaults_are_those_of_the_documentation() -> None:
    """What one run may hold if nobody says otherwise."""
    assert Limits() == Limits(
        request_body=1 * MIB, step_result=4 * MIB, run_state=32 * MIB, steps=1000, response=4 * MIB
    )


def test_limits_can_be_raised_with_what_the_package_exports() -> None:
    """The name in the errors' text is there to be imported."""
    assert getattr(inngest_durable, "Limits", None) is Limits
    assert "Limits" in inngest_durable.__all__


@pytest.mark.parametrize("server", EACH_SERVER)
@pytest.mark.parametrize("size", [1 * MIB + 1, 20 * MIB], ids=["just over", "over the framework's own limit"])
def test_large_request_is_refused(tmp_path: Path, serve: Serve, server: int, size: int) -> None:
    """A body over the limit, with a length or in chunks, is answered 413; nothing runs and nothing is written."""
    shop = texts(tmp_path)
    site = serve(shop.app, shop.inngest, web().servers[server])
    answers = [
        site.client.post("/upload", content=bytes(size)),
        site.client.post("/upload", content=in_chunks(size)),
        site.client.post("/upload", content=in_chunks(size), headers={"Idempotency-Key": "key"}),
    ]

    assert [answer.status_code for answer in answers] == [413] * 3
    assert all(is_clear(answer.json()["error"], "request_body", size, 1 * MIB) for answer in answers)
    assert all(RUN_ID not in answer.headers for answer in answers)
    assert site.outside.counts() == {}
    # A run that is accepted later is written after whatever these might have left.
    accepted = site.client.post("/upload", content=in_chunks(1 * MIB))
    assert accepted.text == str(1 * MIB)
    assert site.records.wait_for_only_run().id == accepted.headers[RUN_ID]


@over_quart_only
@pytest.mark.parametrize("server", EACH_SERVER)
@pytest.mark.parametrize("path", ["/upload", "/_inngest/e/key-1"])
def test_body_that_does_not_come_is_not_waited_for(tmp_path: Path, serve: Serve, server: int, path: str) -> None:
    """Quart's own limit of the time for a body holds for endpoints and events too. WSGI leaves that to the server."""
    shop = texts(tmp_path, event_key="key-1")
    shop.app.config["BODY_TIMEOUT"] = 0.2
    site = serve(shop.app, shop.inngest, web().servers[server])
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as client:
        client.sendall(head + b"half ")
        status_line = client.recv(4096).partition(b"\r\n")[0]

    assert status_line.startswith(b"HTTP/1.1 408 ")
    assert site.outside.counts() == {}
    assert site.records.runs() == []


def test_limit_of_requests_can_be_set(tmp_path: Path, serve: Serve) -> None:
    """The limit that was given counts, to the byte."""
    shop = texts(tmp_path, request_body=100)
    site = serve(shop.app, shop.inngest)
    fits, refused = (site.client.post("/upload", content=bytes(size)) for size in (100, 101))

    assert (fits.status_code, fits.text) == (200, "100")
    assert is_clear(refused.json()["error"], "request_body", 101, 100)


def test_large_upload_to_another_view_is_none_of_ours(tmp_path: Path, serve: Serve) -> None:
    """An upload that the application streams through a plain view is neither refused nor kept in memory."""
    shop = texts(tmp_path)
    shop.app.config["MAX_CONTENT_LENGTH"] = None
    size = 24 * MIB

    @shop.app.post("/plain-upload")
    async def plain_upload() -> str:
        received = 0
        async for chunk in body_chunks():
            received += len(chunk)
        return f"{received} {tracemalloc.get_traced_memory()[1] - before}"

    site = serve(shop.app, shop.inngest)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        answer = site.client.post("/plain-upload", content=in_chunks(size))
    finally:
        tracemalloc.stop()
    received, memory = map(int, answer.text.split())

    assert received == size
    assert memory < size / 3


def test_large_step_result_fails_the_step(tmp_path: Path, serve: Serve) -> None:
    """A result over the limit is a failure of its step, at the first attempt, and is not stored."""
    shop = texts(tmp_path, step_result=100)
    site = serve(shop.app, shop.inngest)
    # As JSON the text has two quotes more.
    fits, refused = (site.get(f"/steps?sizes={size}") for size in (98, 99))

    assert fits.text == "all fit"
    assert refused.status_code == 409
    assert (refused.json()["error"], refused.json()["attempts"]) == ("LimitExceededError", 1)
    assert is_clear(refused.json()["text"], "step_result", 101, 100)
    memo = site.records.steps(refused.headers[RUN_ID])["text-0"]
    assert (memo.state, memo.result) == ("failed", None)
    assert site.outside.counts() == {"text": 2}


def test_large_step_result_over_the_default_fails_the_step(tmp_path: Path, serve: Serve) -> None:
    """Without options the limit is 4 MiB, and one step may use all of it."""
    shop = texts(tmp_path)
    site = serve(shop.app, shop.inngest)
    fits, refused = (site.get(f"/steps?sizes={size}") for size in (4 * MIB - 2, 4 * MIB - 1))

    assert fits.text == "all fit"
    assert is_clear(refused.json()["text"], "step_result", 4 * MIB + 1, 4 * MIB)


@pytest.mark.parametrize("query", ["", "&fail=1"], ids=["in one pass", "over several passes"])
def test_large_run_state_fails_the_step_that_exceeds_it(tmp_path: Path, serve: Serve, query: str) -> None:
    """The results of all steps count together, those of earlier passes too."""
    shop = texts(tmp_path, run_state=10_000)
    site = serve(shop.app, shop.inngest)
    fits = site.follow(site.get(f"/steps?sizes=4000,4000{query.replace('1', '0')}"))
    answer = site.follow(site.get(f"/steps?sizes=4000,4000,4000{query}"))

    assert fits.text == "all fit"
    assert answer.status_code == 409
    assert (answer.json()["step"], answer.json()["error"]) == ("text-2", "LimitExceededError")
    flaky = 2 * len('"flaky#1"') if query else 0
    assert is_clear(answer.json()["text"], "run_state", 3 * 4002 + flaky, 10_000)
    assert site.outside.counts()["text"] == 2 + 3


def test_run_state_does_not_count_what_a_later_attempt_replaces(tmp_path: Path, serve: Serve) -> None:
    """The error of a failed attempt is gone when the step succeeds: it takes no place from the result."""
    shop = bare_shop(tmp_path, limits=Limits(run_state=10_000))

    def flaky() -> str:
        if shop.outside.record("flaky") == 1:
            raise ValueError("x" * 4_000)
        return "y" * 9_000

    @shop.app.get("/")
    @shop.inngest.endpoint(retries=QUICK)
    async def handler() -> str:
        return str(len(await step.run("flaky", flaky)))

    @shop.app.errorhandler(StepError)
    async def show(error: StepError) -> tuple[str, int]:
        return error.message, 500

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    answer = site.follow(site.get("/"))

    assert (answer.status_code, answer.text) == (200, "9000")


def test_too_many_steps_fail_the_run(tmp_path: Path, serve: Serve) -> None:
    """The step that is one too many raises in the handler, which is not tried again; those before it ran once."""
    shop = texts(tmp_path, steps=3)

    @shop.app.errorhandler(LimitExceededError)
    async def show(error: LimitExceededError) -> tuple[str, int]:
        return str(error), 507

    site = serve(shop.app, shop.inngest)
    fits = site.get("/steps?sizes=1,1,1")
    answer = site.get("/steps?sizes=1,1,1,1")
    run = site.records.wait_for_end(answer.headers[RUN_ID])

    assert fits.text == "all fit"
    assert answer.status_code == 507
    assert is_clear(answer.text, "steps", 4, 3)
    assert (run.status, run.attempt) == ("failed", 1)
    assert is_clear(str(run.failure), "steps", 4, 3)
    assert list(site.records.steps(run.id)) == ["text-0", "text-1", "text-2"]
    assert site.outside.counts() == {"text": 3 + 3}


@over_quart_only
def test_steps_of_all_branches_count(tmp_path: Path, serve: Serve) -> None:
    """Steps at the same time count as others do; and a replay does not count a step twice."""
    shop = bare_shop(tmp_path, limits=Limits(steps=4))

    @shop.app.get("/")
    @shop.inngest.endpoint(retries=QUICK)
    async def handler() -> list[str]:
        calls = [step.run("branch", shop.outside.act, f"branch {number}", 1) for number in range(3)]
        return [*await asyncio.gather(*calls), await step.run("last", shop.outside.act, "last", 1)]

    @shop.app.get("/over")
    @shop.inngest.endpoint(retries=QUICK)
    async def over() -> str:
        await asyncio.gather(*(asyncio.create_task(branch(number)) for number in range(3)))
        return "all fit"

    async def branch(number: int) -> None:
        for _ in range(2):
            await step.run("over", shop.outside.act, "over")

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    over_run = site.records.wait_for_end(site.get("/over").headers[RUN_ID])

    assert site.follow(site.get("/")).json() == ["branch 0#2", "branch 1#2", "branch 2#2", "last#2"]
    assert over_run.status == "failed"
    assert is_clear(str(over_run.failure), "steps", 5, 4)


def refused_response(site: Site, path: str) -> dict[str, str]:
    """Return what the wait URL answers for a response that was not recorded."""
    answer = site.follow(site.get(path))
    assert answer.status_code == 500
    assert "x-kept" not in answer.headers
    body: dict[str, str] = answer.json()
    return body


@pytest.mark.parametrize("query", ["", "&streamed=1"], ids=["whole", "streamed"])
def test_large_response_reaches_its_client_and_is_not_recorded(tmp_path: Path, serve: Serve, query: str) -> None:
    """Who is connected gets every byte; the wait URL and another request of the same key get an error that says why."""
    shop = texts(tmp_path, response=100_000)
    site = serve(shop.app, shop.inngest)
    key = {"Idempotency-Key": "key"}
    direct = site.get(f"/response?size=100001{query}", headers=key)
    run = site.records.wait_for_end(direct.headers[RUN_ID])
    again = site.get(f"/response?size=100001{query}", headers=key)
    waited = refused_response(site, f"/response?size=100001&fail=2{query}")

    assert (direct.status_code, len(direct.content), direct.headers["x-kept"]) == (201, 100_001, "yes")
    assert run.status == "completed"
    assert (again.status_code, again.headers["idempotent-replayed"]) == (500, "true")
    assert is_clear(again.json()["error"], "response", 100_001, 100_000)
    assert is_clear(waited["error"], "response", 100_001, 100_000)


def test_response_at_the_limit_is_recorded(tmp_path: Path, serve: Serve) -> None:
    """The limit itself fits; by default it is 4 MiB."""
    shop = texts(tmp_path)
    site = serve(shop.app, shop.inngest)
    fits = site.follow(site.get(f"/response?size={4 * MIB}&fail=1"))
    refused = refused_response(site, f"/response?size={4 * MIB + 1}&fail=3")

    assert (fits.status_code, len(fits.content)) == (201, 4 * MIB)
    assert is_clear(refused["error"], "response", 4 * MIB + 1, 4 * MIB)


def test_no_more_reentries_at_a_time_than_allowed(tmp_path: Path, serve: Serve) -> None:
    """Runs that are due at the same time are re-entered a few at a time, and all of them in the end."""
    shop = bare_shop(tmp_path, engine={"max_concurrent_passes": 2})
    active: list[int] = [0, 0]
    # As many as are let, on a busy machine too.
    pair = threading.Barrier(2, timeout=10)

    def work() -> None:
        active[0] += 1
        active[1] = max(active)
        pair.wait()
        # Time for others to begin, if they are let.
        time.sleep(0.02)
        active[0] -= 1

    @shop.app.get("/")
    @shop.inngest.endpoint
    async def handler() -> str:
        await step.sleep("pause", "2s")
        await step.run("work", work)
        return "done"

    shop.inngest.init_app(shop.app)
    site = serve(shop.app, shop.inngest)
    redirects = [site.get("/") for _ in range(6)]
    answers = [site.follow(redirect).text for redirect in redirects]

    assert answers == ["done"] * 6
    assert active == [0, 2]
