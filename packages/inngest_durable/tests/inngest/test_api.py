from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from inngest_durable._core.events import SentEvent
from inngest_durable.engines.inngest.api import InngestApi, RefusedError, UnreachableError
from inngest_durable.engines.inngest.protocol import SDK
from inngest_durable.engines.inngest.settings import Settings
from inngest_durable.engines.inngest.signing import api_key
from inngest_durable.errors import ConfigurationError
from msgspec import Raw

KEY = "signkey-test-" + "ab12cd34" * 8
OTHER_KEY = "signkey-test-" + "ef56ab78" * 8
RUN_ID = "01M81NEW7F4XMQVCNC1KCXJCYS"
CREATED = {"data": {"fn_id": "f", "app_id": "a", "run_id": RUN_ID, "token": "t"}}
DEV = Settings(is_dev=True, api_url="http://dev.test", event_url="http://dev.test", event_key="some-event-key")
CLOUD = Settings(
    is_dev=False,
    api_url="https://api.test",
    event_url="https://events.test",
    signing_key=KEY,
    signing_key_fallback=OTHER_KEY,
    event_key="some-event-key",
    env="branch",
)

Answer = httpx.Response | Exception


class Server:
    """Answers calls as the test says, the last answer again and again, and remembers them."""

    def __init__(self, *answers: Answer) -> None:
        self.calls: list[httpx.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        # As a stream, so that nobody has read it yet.
        return httpx.Response(answer.status_code, headers=answer.headers.raw, stream=httpx.ByteStream(answer.content))


@asynccontextmanager
async def calling(server: Callable[[httpx.Request], Any], settings: Settings = DEV) -> AsyncIterator[InngestApi]:
    api = InngestApi(settings, httpx.MockTransport(server), first_pause_seconds=0)
    await api.open()
    try:
        yield api
    finally:
        await api.close()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def test_calls_say_who_calls_and_with_which_key() -> None:
    server = Server(httpx.Response(200, json=CREATED))
    async with calling(server, CLOUD) as api:
        created = await api.create(b'{"run_id": "r"}')

    call = server.calls[0]
    assert (created.fn_id, created.app_id, created.run_id, created.token) == ("f", "a", RUN_ID, "t")
    assert (call.method, str(call.url)) == ("POST", "https://api.test/v1/checkpoint")
    assert call.content == b'{"run_id": "r"}'
    assert call.headers["authorization"] == f"Bearer {api_key(KEY)}"
    assert call.headers["x-inngest-sdk"] == SDK
    assert call.headers["x-inngest-env"] == "branch"
    assert call.headers["content-type"] == "application/json"


async def test_call_without_a_key_has_no_authorization() -> None:
    server = Server(httpx.Response(200))
    async with calling(server) as api:
        await api.checkpoint(RUN_ID, b"{}")

    assert server.calls[0].url.path == f"/v1/checkpoint/{RUN_ID}/steps"
    assert "authorization" not in server.calls[0].headers


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_key_is_replaced_by_the_other_one_from_then_on(status: int) -> None:
    server = Server(httpx.Response(status), httpx.Response(200))
    async with calling(server, CLOUD) as api:
        await api.checkpoint(RUN_ID, b"{}")
        await api.checkpoint(RUN_ID, b"{}")

    keys = [call.headers["authorization"].removeprefix("Bearer ") for call in server.calls]
    assert keys == [api_key(KEY), api_key(OTHER_KEY), api_key(OTHER_KEY)]


async def test_refused_keys_are_an_error_that_names_the_variables_and_shows_no_key() -> None:
    server = Server(httpx.Response(401, text="Authentication failed"))
    async with calling(server, CLOUD) as api:
        with pytest.raises(RefusedError, match=r"INNGEST_SIGNING_KEY, and INNGEST_SIGNING_KEY_FALLBACK") as caught:
            await api.checkpoint(RUN_ID, b"{}")

    assert caught.value.status == 401
    assert len(server.calls) == 2
    assert not any(secret in repr(caught.value) for secret in (KEY, OTHER_KEY, api_key(KEY), api_key(OTHER_KEY)))


async def test_missing_key_is_an_error_that_says_so() -> None:
    async with calling(Server(httpx.Response(401))) as api:
        with pytest.raises(RefusedError, match="without a key: set INNGEST_SIGNING_KEY"):
            await api.actions(RUN_ID)


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError(""), httpx.ReadTimeout("slow"), *map(httpx.Response, (409, 429, 500, 503))]
)
async def test_call_that_fails_is_made_again(failure: Answer) -> None:
    server = Server(failure, failure, httpx.Response(200))
    async with calling(server) as api:
        await api.checkpoint(RUN_ID, b"{}")

    assert len(server.calls) == 3


async def test_server_that_stays_away_is_unreachable_after_the_tries() -> None:
    server = Server(httpx.ConnectError("All connection attempts failed"))
    async with calling(server) as api:
        with pytest.raises(
            UnreachableError, match=r"http://dev.test .* 5 times .*attempts failed.*Dev Server"
        ) as caught:
            await api.checkpoint(RUN_ID, b"{}")
        assert len(server.calls) == 5
        with pytest.raises(UnreachableError):
            await api.checkpoint(RUN_ID, b"{}", tries=1)

    assert len(server.calls) == 6
    assert "INNGEST_DEV" in str(caught.value)


async def test_refused_call_is_not_made_again() -> None:
    server = Server(httpx.Response(400, json={"error": "Invalid request body"}))
    async with calling(server) as api:
        with pytest.raises(RefusedError, match=r"status 400: .*Invalid request body") as caught:
            await api.create(b"{}")

    assert caught.value.status == 400
    assert len(server.calls) == 1


async def test_page_of_something_else_is_no_answer() -> None:
    async with calling(Server(httpx.Response(200, text="<html>Welcome</html>")), CLOUD) as api:
        for call in (api.create(b"{}"), api.actions(RUN_ID), api.batch(RUN_ID), api.run(RUN_ID), api.jobs(RUN_ID)):
            with pytest.raises(UnreachableError, match=r"INNGEST_API_BASE_URL"):
                await call


@pytest.mark.parametrize("status", [404, 410])
async def test_run_without_state_has_no_actions_and_no_batch(status: int) -> None:
    async with calling(Server(httpx.Response(status))) as api:
        assert await api.actions(RUN_ID) is None
        assert await api.batch(RUN_ID) is None


async def test_actions_and_batch_are_read() -> None:
    event = {
        "name": "inngest/http.request",
        "id": "e",
        "ts": 1,
        "data": {"path": "/p", "method": "PUT", "body": "YWI="},
    }
    async with calling(Server(httpx.Response(200, text='{"h": {"data":1}}'), httpx.Response(200, json=[event]))) as api:
        actions = await api.actions(RUN_ID)
        batch = await api.batch(RUN_ID)

    assert actions == {"h": Raw(b'{"data":1}')}
    assert batch is not None
    assert (batch.path, batch.method, batch.body) == ("/p", "PUT", b"ab")


UNKNOWN = {"error": f"Unable to load function run: {RUN_ID}", "data": None, "status": 500}


@pytest.mark.parametrize(
    "answer", [httpx.Response(404), httpx.Response(500, json=UNKNOWN), httpx.Response(200, json=UNKNOWN)]
)
async def test_unknown_run_is_none_however_the_server_says_so(answer: httpx.Response) -> None:
    async with calling(Server(answer)) as api:
        assert await api.run(RUN_ID) is None
        assert await api.jobs(RUN_ID) == []


async def test_run_and_its_jobs_are_read() -> None:
    data = {"run_id": RUN_ID, "status": "Failed", "output": {"name": "E"}}
    async with calling(
        Server(httpx.Response(200, json={"data": data}), httpx.Response(200, json={"data": [{}, {}]}))
    ) as api:
        run = await api.run(RUN_ID)
        jobs = await api.jobs(RUN_ID)

    assert run is not None
    assert (run.status, json.loads(bytes(run.output)), jobs) == ("Failed", {"name": "E"}, [b"{}", b"{}"])


async def test_failing_server_does_not_make_a_run_unknown() -> None:
    for failing in (httpx.Response(500), httpx.Response(500, json={"error": "No workspace", "data": None})):
        async with calling(Server(failing)) as api:
            with pytest.raises(UnreachableError):
                await api.run(RUN_ID)


@pytest.mark.parametrize(("status", "is_known"), [(200, True), (404, False)])
async def test_cancel_and_signal_tell_whether_there_was_one(status: int, is_known: bool) -> None:
    server = Server(httpx.Response(status))
    async with calling(server) as api:
        assert await api.cancel(RUN_ID) is is_known
        assert await api.send_signal("go", Raw(b'{"n":[1]}')) is is_known

    assert [(call.method, call.url.path) for call in server.calls] == [
        ("DELETE", f"/v1/runs/{RUN_ID}"),
        ("POST", "/v1/signals"),
    ]
    assert json.loads(server.calls[1].content) == {"signal": "go", "data": {"n": [1]}}


async def test_events_are_sent_with_their_ids_and_the_event_key_alone() -> None:
    server = Server(httpx.Response(200, json={"ids": ["1"], "status": 200}))
    async with calling(server, CLOUD) as api:
        await api.send_events([SentEvent("id-1", "a/b", b'{"x":1}', 5), SentEvent("id-2", "c", b"{}", 6)])

    assert str(server.calls[0].url) == "https://events.test/e/some-event-key"
    assert "authorization" not in server.calls[0].headers
    assert json.loads(server.calls[0].content) == [
        {"data": {"x": 1}, "id": "id-1", "name": "a/b", "ts": 5},
        {"data": {}, "id": "id-2", "name": "c", "ts": 6},
    ]


async def test_refused_event_key_is_named_and_not_shown() -> None:
    async with calling(Server(httpx.Response(401, json={"error": "Event key not found"})), CLOUD) as api:
        with pytest.raises(RefusedError, match="INNGEST_EVENT_KEY") as caught:
            await api.send_events([SentEvent("1", "a", b"{}", 1)])

    assert "some-event-key" not in repr(caught.value)


async def test_events_without_an_event_key_are_an_error_before_anything_is_sent() -> None:
    server = Server(httpx.Response(200))
    settings = Settings(is_dev=False, api_url="https://api.test", event_url="https://events.test", signing_key=KEY)
    async with calling(server, settings) as api:
        with pytest.raises(ConfigurationError, match="INNGEST_EVENT_KEY"):
            await api.send_events([SentEvent("1", "a", b"{}", 1)])

    assert server.calls == []


async def test_log_of_the_http_library_shows_neither_event_key_nor_token(logged: pytest.LogCaptureFixture) -> None:
    async with calling(Server(httpx.Response(200))) as api:
        await api.send_events([SentEvent("1", "a", b"{}", 1)])
        await api.output(RUN_ID, "a.secret.token", 5)
        async with httpx.AsyncClient(transport=httpx.MockTransport(Server(httpx.Response(200)))) as other:
            await other.get("http://other.test/e/path?token=theirs")

    assert "some-event-key" not in logged.text
    assert "secret" not in logged.text
    assert "/e/***" in logged.text
    assert "http://other.test/e/path?token=theirs" in logged.text


ENDPOINT = {"x-inngest-durable": "e30=", "x-inngest-server-kind": "dev"}


async def output_of(answer: Answer) -> Any:
    async with calling(Server(answer)) as api:
        return await api.output(RUN_ID, "token", 5)


@pytest.mark.parametrize("status", [200, 302, 401, 418, 500, 503])
async def test_output_is_what_the_endpoint_answered(status: int) -> None:
    answer = await output_of(httpx.Response(status, headers={**ENDPOINT, "X-Tea": "yes"}, content=b"\x00\xff"))

    assert (answer.status, answer.body) == (status, b"\x00\xff")
    assert (b"x-tea", b"yes") in answer.headers


async def test_output_keeps_a_body_that_the_application_has_compressed() -> None:
    headers = [(b"content-encoding", b"gzip"), (b"x-inngest-durable", b"e30=")]

    async def compressed(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(b"no gzip at all"))

    async with calling(compressed) as api:
        answer = await api.output(RUN_ID, "token", 5)

    assert answer is not None
    assert answer.body == b"no gzip at all"


async def test_output_of_a_run_that_goes_on_is_none() -> None:
    text = '{"status":"running","message":"run did not end within 5 minutes"}'

    assert await output_of(httpx.Response(200, text=text)) is None
    assert await output_of(httpx.Response(200, text=text, headers=ENDPOINT)) is not None


async def test_output_is_none_when_the_time_is_over() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets the event")

    async with calling(never) as api:
        assert await api.output(RUN_ID, "token", 0.01) is None


OWN_401 = {"error": "Unable to find run with auth token", "data": None, "status": 401}


@pytest.mark.parametrize("kind", [{}, {"x-inngest-server-kind": "dev"}])
async def test_output_with_a_wrong_token_is_refused(kind: dict[str, str]) -> None:
    for answer in (httpx.Response(401, json=OWN_401, headers=kind), httpx.Response(401, text="no", headers=kind)):
        with pytest.raises(RefusedError, match=RUN_ID) as caught:
            await output_of(answer)
        assert caught.value.status == 401


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("gone"),
        httpx.Response(502, text="Bad gateway"),
        httpx.Response(500, json={"error": "x", "data": None, "status": 500}, headers={"x-inngest-server-kind": "dev"}),
    ],
)
async def test_output_of_a_failing_server_is_no_answer(answer: Answer) -> None:
    with pytest.raises(UnreachableError, match=r"http://dev\.test"):
        await output_of(answer)


def test_output_url_is_the_servers_own() -> None:
    url = InngestApi(CLOUD).output_url(RUN_ID, "a.b-c_d&")

    assert url == f"https://api.test/v1/http/runs/{RUN_ID}/output?token=a.b-c_d%26"


async def test_no_call_is_made_after_close() -> None:
    server = Server(httpx.Response(200))
    async with calling(server) as api:
        pass
    with pytest.raises(UnreachableError, match="has stopped"):
        await api.checkpoint(RUN_ID, b"{}")

    assert server.calls == []
