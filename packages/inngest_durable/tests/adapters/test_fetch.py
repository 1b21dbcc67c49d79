"""`step.fetch`: which answers are returned, which are tried again, and what is memoized."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from inngest_durable import RetryPolicy, StepError, StepOptions, StepValueError

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from testkit.colourless import Web, over_both, step
from testkit.ports import free_port
from testkit.third_party import CUT, HELD, Answer, ThirdParty

pytestmark = over_both

QUICK = RetryPolicy(max_retries=2, initial="1ms")


Ask = Callable[..., Any]


@pytest.fixture
def office(tmp_path: Path, web: Web) -> Office:
    """Make an application in real time, not yet connected."""
    return make_office(tmp_path, "memory", real_time=True)


@pytest.fixture
def ask(office: Office, api: ThirdParty) -> Ask:
    """Return a function that lets an endpoint fetch, and returns what a client then gets, following redirects."""
    wanted: dict[str, Any] = {}
    policies = [QUICK]

    async def seats() -> Any:
        try:
            answer = await step.fetch(StepOptions("ask", retries=policies[-1]), **wanted)
        except StepError as error:
            return {"error": error.name, "message": error.message, "attempts": error.attempt}, 502
        return {
            "status": answer.status,
            "ok": answer.ok,
            "text": answer.text,
            "kind": answer.header("Content-Type"),
        }

    office.add("/seats", seats)

    async def asked(policy: RetryPolicy = QUICK, **arguments: Any) -> Any:
        policies.append(policy)
        wanted.update({"url": f"{api.url}/seats", **arguments})
        async with opened(office):
            return await office.end("/seats")

    return asked


async def test_answer_is_returned(ask: Ask, api: ThirdParty) -> None:
    assert await ask() == {"status": 200, "ok": True, "text": '{"seats": 3}', "kind": "application/json"}
    [(method, path, headers, body)] = api.asked
    assert (method, path, body) == ("GET", "/seats", b"")
    assert len(headers["idempotency-key"]) == 32


async def test_request_is_sent_as_it_was_meant(ask: Ask, api: ThirdParty) -> None:
    await ask(method="post", json={"a": [1]}, params={"page": 2}, headers={"X-Trace": "t", "Idempotency-Key": "mine"})
    [(method, path, headers, body)] = api.asked

    assert (method, path, body) == ("POST", "/seats?page=2", b'{"a":[1]}')
    assert headers["content-type"] == "application/json"
    assert (headers["x-trace"], headers["idempotency-key"]) == ("t", "mine")


@pytest.mark.parametrize(
    ("query", "params", "path"),
    [
        ("?sig=a%20b+c%2Fd", {"page": 2}, "/seats?sig=a%20b+c%2Fd&page=2"),
        ("?sig=a%20b+c%2Fd", {}, "/seats?sig=a%20b+c%2Fd"),
        (
            "?tag=new",
            {"tag": ["a", "b c"], "all": True, "from": "ü"},
            "/seats?tag=new&tag=a&tag=b+c&all=true&from=%C3%BC",
        ),
    ],
    ids=["added", "none", "several"],
)
async def test_params_are_added_to_the_query_of_the_url(
    ask: Ask, api: ThirdParty, query: str, params: dict[str, Any], path: str
) -> None:
    """What the URL has stays as it is: it may be signed."""
    await ask(url=f"{api.url}/seats{query}", params=params)

    assert [asked for _, asked, _, _ in api.asked] == [path]


async def test_client_error_is_an_answer(ask: Ask, api: ThirdParty) -> None:
    api.answers = [(404, {"content-type": "text/plain; charset=latin-1"}, "kein Flug für dich".encode("latin-1"))]
    answer = await ask()

    assert (answer["status"], answer["ok"], answer["text"]) == (404, False, "kein Flug für dich")
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("utf-8", b"a\xff", "a\ufffd"),
        ("utf-16", "für".encode("utf-16-le"), "für"),
        ("utf-16", b"a\0b", "a\ufffd"),
        *((charset, b"a\xff", "a\ufffd") for charset in ("hex", "rot13", "idna", "undefined", "none-such")),
    ],
)
async def test_text_is_there_whatever_its_charset(
    ask: Ask, api: ThirdParty, charset: str, body: bytes, text: str
) -> None:
    """One that is no charset of texts counts as UTF-8, and invalid bytes are replaced."""
    api.answers = [(200, {"content-type": f"text/plain; charset={charset}"}, body)]

    assert (await ask())["text"] == text


@pytest.mark.parametrize("trouble", [(500, {}, b""), (503, {}, b""), (429, {}, b""), CUT], ids=str)
async def test_trouble_is_tried_again(ask: Ask, api: ThirdParty, trouble: Answer) -> None:
    """With the same idempotency key, so that the other side does its work once."""
    api.answers = [trouble, api.answers[0]]

    assert (await ask())["status"] == 200
    assert len(set(api.idempotency_keys())) == 1
    assert len(api.asked) == 2


async def test_answer_that_does_not_come_is_asked_for_again(ask: Ask, api: ThirdParty) -> None:
    """After the timeout."""
    api.answers = [HELD, api.answers[0]]

    assert (await ask(timeout="50ms"))["status"] == 200
    assert len(set(api.idempotency_keys())) == 1
    assert len(api.asked) == 2


async def test_refused_connection_is_tried_again(ask: Ask) -> None:
    answer = await ask(url=f"http://127.0.0.1:{free_port()}/seats")

    assert (answer["error"], answer["attempts"]) == ("ConnectError", 3)


@pytest.mark.parametrize(("options", "seconds"), [({"timeout": "1500ms"}, 1.5), ({}, 30.0)], ids=["given", "default"])
async def test_timeout_is_for_connecting_and_for_each_wait(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], seconds: float
) -> None:
    given: list[dict[str, float]] = []

    def noting(handle: Callable[..., Any]) -> Callable[..., Any]:
        def noted(transport: httpx.BaseTransport, request: httpx.Request) -> Any:
            given.append(request.extensions["timeout"])
            return handle(transport, request)

        return noted

    for transport, name in (
        (httpx.HTTPTransport, "handle_request"),
        (httpx.AsyncHTTPTransport, "handle_async_request"),
    ):
        monkeypatch.setattr(transport, name, noting(getattr(transport, name)))
    await ask(**options)

    assert given == [dict.fromkeys(("connect", "read", "write", "pool"), seconds)]


async def test_trouble_that_lasts_is_a_step_error(ask: Ask, api: ThirdParty) -> None:
    api.answers = [(502, {}, b"bad gateway")]
    answer = await ask()

    assert answer["error"] == "FetchStatusError"
    assert answer["message"] == f"GET {api.url}/seats answered 502"
    assert answer["attempts"] == len(api.asked) == 3


@pytest.mark.parametrize("after", ["0", "Thu, 01 Jan 1970 00:00:00 GMT"], ids=["seconds", "date"])
async def test_retry_after_is_honoured(ask: Ask, api: ThirdParty, after: str) -> None:
    """It takes the place of the policy's pause, which would outlast the test here."""
    api.answers = [(429, {"retry-after": after}, b""), api.answers[0]]
    async with asyncio.timeout(60):
        answer = await ask(policy=RetryPolicy(initial="1h", maximum="1h", jitter=False))

    assert answer["status"] == 200


@pytest.mark.parametrize("after", [f"{10**8}", "Fri, 31 Dec 9999 23:59:59 -2359"], ids=["seconds", "date"])
async def test_server_that_asks_for_years_is_waited_for_a_day(office: Office, api: ThirdParty, after: str) -> None:
    api.answers = [(429, {"retry-after": after}, b"")]

    async def seats() -> Any:
        await step.fetch(StepOptions("ask", retries=1), f"{api.url}/seats")

    office.add("/seats", seats)
    async with opened(office):
        location = await office.parked("/seats")
        wake_at = office.memo(location, "ask").wake_at

    assert wake_at == pytest.approx(time.time() + 24 * 3600, abs=60)


async def test_redirect_is_followed(ask: Ask, api: ThirdParty) -> None:
    api.answers = [(302, {"location": "/elsewhere"}, b""), (200, {}, b"here")]

    assert (await ask())["text"] == "here"
    assert [path for _, path, _, _ in api.asked] == ["/seats", "/elsewhere"]


# What the socket alone would refuse, and asyncio in another way than a thread.
OUT_OF_REACH = ["http://localhost:65536/", "http://localhost:0/", "http://a..b/", f"http://{'a' * 64}.example/"]


@pytest.mark.parametrize("url", ["http://localhost:no-port/", "ftp://localhost/", "/seats", *OUT_OF_REACH])
async def test_url_that_is_none_is_not_tried_again(ask: Ask, url: str) -> None:
    answer = await ask(url=url)

    assert (answer["error"], answer["attempts"]) == ("NonRetriableError", 1)
    assert answer["message"].startswith(f"the request to {url!r} cannot be sent: ")


@pytest.mark.parametrize("url", ["ftp://localhost/", *OUT_OF_REACH])
async def test_redirect_to_what_is_no_url_is_not_followed_again(ask: Ask, api: ThirdParty, url: str) -> None:
    api.answers = [(302, {"location": url}, b"")]
    answer = await ask()

    assert (answer["error"], answer["attempts"], len(api.asked)) == ("NonRetriableError", 1, 1)
    assert answer["message"].startswith(f"the request to '{api.url}/seats' cannot be sent: ")


@pytest.mark.parametrize(
    "wrong",
    [
        {"headers": {"x": "two\nlines"}},
        {"headers": {"x": "ü"}},
        {"headers": {"ü": "x"}},
        {"headers": {"x": 1}},
        {"headers": {"Content-Length": "2"}},
        {"headers": {"Content-Length": "2"}, "method": "POST", "content": b"abc"},
        {"headers": {"Content-Length": "9"}, "method": "POST", "content": b"abc"},
        {"method": "GE T"},
    ],
    ids=str,
)
async def test_request_that_http_cannot_express_is_not_tried_again(
    ask: Ask, api: ThirdParty, wrong: dict[str, Any]
) -> None:
    answer = await ask(**wrong)

    assert (answer["error"], answer["attempts"], api.asked) == ("NonRetriableError", 1, [])
    assert "cannot be sent: " in answer["message"]


async def test_error_does_not_tell_the_password_of_the_url(ask: Ask, api: ThirdParty) -> None:
    api.answers = [(500, {}, b"")]
    answer = await ask(url=api.url.replace("//", "//me:secret@") + "/seats")

    assert answer["message"] == f"GET {api.url}/seats answered 500"
    assert "authorization" in api.asked[0][2]


async def test_two_bodies_are_refused(ask: Ask) -> None:
    with pytest.raises(ValueError, match="either json= or content="):
        await step.fetch("ask", "http://localhost", json={}, content=b"")


async def test_body_that_is_no_json_is_refused(ask: Ask, api: ThirdParty) -> None:
    """At once, where it was given: another attempt would not change it."""
    with pytest.raises(StepValueError, match=r"json= of step\.fetch has no JSON form"):
        await step.fetch("ask", api.url, json={"at": object()})


async def test_answer_is_memoized(office: Office, api: ThirdParty) -> None:
    """A replay does not ask again."""
    api.answers = [(503, {}, b""), api.answers[0]]

    async def seats() -> Any:
        answer = await step.fetch(StepOptions("ask", retries=QUICK), f"{api.url}/seats", method="POST", json={"a": 1})
        await step.sleep("replay", "1ms")
        return {"status": answer.status, "seats": answer.json()["seats"]}

    office.add("/seats", seats)
    async with opened(office):
        assert await office.end("/seats") == {"status": 200, "seats": 3}

    assert [(method, body) for method, _, _, body in api.asked] == [("POST", b'{"a":1}')] * 2
    assert len(set(api.idempotency_keys())) == 1
