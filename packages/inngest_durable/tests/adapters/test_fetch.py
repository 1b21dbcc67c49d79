"""`step.fetch`: which answers are returned, which are tried again, and what is memoized."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from inngest_durable import RetryPolicy, StepError, StepOptions, StepValueError

from packages.inngest_durable.tests.adapters.office import Office, make_office, opened
from testkit.colourless import Web, over_both, step

pytestmark = over_both

QUICK = RetryPolicy(max_retries=2, initial="1ms")
Answer = tuple[int, dict[str, str], bytes]


class Api:
    """A server that gives the answers in its list, the last one again and again, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [(200, {"content-type": "application/json"}, b'{"seats": 3}')]
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                api.asked.append((self.command, self.path, headers, body))
                status, sent, content = api.answers[min(len(api.asked), len(api.answers)) - 1]
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**sent, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name in the standard library
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    """A third party."""
    api = Api()
    yield api
    api.stop()


Ask = Callable[..., Any]


@pytest.fixture
def office(tmp_path: Path, web: Web) -> Office:
    """Make an application in real time, not yet connected."""
    return make_office(tmp_path, "memory", real_time=True)


@pytest.fixture
def ask(office: Office, api: Api) -> Ask:
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


async def test_answer_is_returned(ask: Ask, api: Api) -> None:
    assert await ask() == {"status": 200, "ok": True, "text": '{"seats": 3}', "kind": "application/json"}
    [(method, path, headers, body)] = api.asked
    assert (method, path, body) == ("GET", "/seats", b"")
    assert len(headers["idempotency-key"]) == 32


async def test_request_is_sent_as_it_was_meant(ask: Ask, api: Api) -> None:
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
    ask: Ask, api: Api, query: str, params: dict[str, Any], path: str
) -> None:
    """What the URL has stays as it is: it may be signed."""
    await ask(url=f"{api.url}/seats{query}", params=params)

    assert [asked for _, asked, _, _ in api.asked] == [path]


async def test_client_error_is_an_answer(ask: Ask, api: Api) -> None:
    api.answers = [(404, {"content-type": "text/plain; charset=latin-1"}, "kein Flug für dich".encode("latin-1"))]
    answer = await ask()

    assert (answer["status"], answer["ok"], answer["text"]) == (404, False, "kein Flug für dich")
    assert len(api.asked) == 1


@pytest.mark.parametrize("trouble", [(500, {}, b""), (503, {}, b""), (429, {}, b""), (0, {}, b"")], ids=str)
async def test_trouble_is_tried_again(ask: Ask, api: Api, trouble: Answer) -> None:
    """With the same idempotency key, so that the other side does its work once."""
    api.answers = [trouble, api.answers[0]]

    assert (await ask())["status"] == 200
    assert len({headers["idempotency-key"] for _, _, headers, _ in api.asked}) == 1
    assert len(api.asked) == 2


async def test_trouble_that_lasts_is_a_step_error(ask: Ask, api: Api) -> None:
    api.answers = [(502, {}, b"bad gateway")]
    answer = await ask()

    assert answer["error"] == "FetchStatusError"
    assert answer["message"] == f"GET {api.url}/seats answered 502"
    assert answer["attempts"] == len(api.asked) == 3


@pytest.mark.parametrize("after", ["0", "Thu, 01 Jan 1970 00:00:00 GMT"], ids=["seconds", "date"])
async def test_retry_after_is_honoured(ask: Ask, api: Api, after: str) -> None:
    """It takes the place of the policy's pause, which would outlast the test here."""
    api.answers = [(429, {"retry-after": after}, b""), api.answers[0]]
    async with asyncio.timeout(60):
        answer = await ask(policy=RetryPolicy(initial="1h", maximum="1h", jitter=False))

    assert answer["status"] == 200


@pytest.mark.parametrize("after", [f"{10**8}", "Fri, 31 Dec 9999 23:59:59 -2359"], ids=["seconds", "date"])
async def test_server_that_asks_for_years_is_waited_for_a_day(office: Office, api: Api, after: str) -> None:
    api.answers = [(429, {"retry-after": after}, b"")]

    async def seats() -> Any:
        await step.fetch(StepOptions("ask", retries=1), f"{api.url}/seats")

    office.add("/seats", seats)
    async with opened(office):
        location = await office.parked("/seats")
        wake_at = office.memo(location, "ask").wake_at

    assert wake_at == pytest.approx(time.time() + 24 * 3600, abs=60)


async def test_redirect_is_followed(ask: Ask, api: Api) -> None:
    api.answers = [(302, {"location": "/elsewhere"}, b""), (200, {}, b"here")]

    assert (await ask())["text"] == "here"
    assert [path for _, path, _, _ in api.asked] == ["/seats", "/elsewhere"]


@pytest.mark.parametrize("url", ["http://localhost:no-port/", "ftp://localhost/", "/seats"])
async def test_url_that_is_none_is_not_tried_again(ask: Ask, url: str) -> None:
    answer = await ask(url=url)

    assert (answer["error"], answer["attempts"]) == ("NonRetriableError", 1)


@pytest.mark.parametrize(
    "wrong",
    [{"headers": {"x": "two\nlines"}}, {"headers": {"x": "ü"}}, {"headers": {"ü": "x"}}, {"method": "GE T"}],
    ids=str,
)
async def test_request_that_http_cannot_express_is_not_tried_again(ask: Ask, api: Api, wrong: dict[str, Any]) -> None:
    answer = await ask(**wrong)

    assert (answer["error"], answer["attempts"], api.asked) == ("NonRetriableError", 1, [])


async def test_error_does_not_tell_the_password_of_the_url(ask: Ask, api: Api) -> None:
    api.answers = [(500, {}, b"")]
    answer = await ask(url=api.url.replace("//", "//me:secret@") + "/seats")

    assert answer["message"] == f"GET {api.url}/seats answered 500"
    assert "authorization" in api.asked[0][2]


async def test_two_bodies_are_refused(ask: Ask) -> None:
    with pytest.raises(ValueError, match="either json= or content="):
        await step.fetch("ask", "http://localhost", json={}, content=b"")


async def test_body_that_is_no_json_is_refused(ask: Ask, api: Api) -> None:
    """At once, where it was given: another attempt would not change it."""
    with pytest.raises(StepValueError, match=r"json= of step\.fetch has no JSON form"):
        await step.fetch("ask", api.url, json={"at": object()})


async def test_answer_is_memoized(office: Office, api: Api) -> None:
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
    assert len({headers["idempotency-key"] for _, _, headers, _ in api.asked}) == 1
