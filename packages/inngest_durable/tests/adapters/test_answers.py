"""A redirected client gets the same answer as one whose run met no failure."""

from __future__ import annotations

import httpx
import pytest

from packages.inngest_durable.tests.adapters.application import BINARY, CONNECTION_HEADERS, KINDS, LARGE
from packages.inngest_durable.tests.adapters.frameworks import QUART
from packages.inngest_durable.tests.adapters.site import RUN_ID, Site

# Of one connection or one moment, or ours: not part of the application's answer. What is streamed has no length, and
# gets one when it is replayed.
FRAMING = {"date", "server", "connection", "transfer-encoding", "content-length"}
OURS = {RUN_ID, "cache-control", "referrer-policy"}


def answer_of(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body as the application made them."""
    headers = [(name.lower(), value) for name, value in response.headers.multi_items()]
    return (
        response.status_code,
        sorted((name, _without_time(value)) for name, value in headers if name not in FRAMING | OURS),
        response.content,
    )


def _without_time(value: str) -> str:
    """Hide a signed session cookie: its signature holds the time."""
    name, separator, rest = value.partition("=")
    return f"{name}{separator}...; {rest.partition('; ')[2]}" if name == "session" else value


@pytest.mark.parametrize("kind", KINDS)
def test_redirected_answer_is_the_same(site: Site, kind: str) -> None:
    """Status, headers in number and order, and body bytes are those of a run without a failure."""
    redirect = site.get(f"/kinds/{kind}?fail=1")
    redirected = site.follow(redirect)
    straight = site.get(f"/kinds/{kind}")

    assert redirect.headers["location"].startswith("/_inngest/")
    assert site.outside.counts() == {"flaky": 3}
    assert RUN_ID in straight.headers
    assert answer_of(redirected) == answer_of(straight)


def test_redirected_answer_has_the_right_bytes(site: Site) -> None:
    """Bytes that are no text, and many of them, arrive as they were sent."""
    binary = site.follow(site.get("/kinds/binary?fail=1"))
    large = site.follow(site.get("/kinds/large?fail=2"))

    assert binary.content == BINARY
    assert large.content == LARGE


def test_hooks_run_once_on_what_the_client_gets(site: Site) -> None:
    """The wait URL's own pass through the application's hooks leaves no trace on the recorded answer."""
    redirect = site.get("/kinds/json?fail=1")
    redirected = [site.follow(redirect) for _ in range(2)]

    for response in (site.get("/kinds/json"), *redirected):
        assert response.headers.get_list("x-hook") == ["1"]


def test_cookies_come_with_the_answer_only(site: Site) -> None:
    """The redirect sets no cookie; the answer sets all of them, in order, and their attributes."""
    redirect = site.get("/kinds/cookies?fail=1")
    cookies = site.follow(redirect).headers.get_list("set-cookie")

    assert "set-cookie" not in redirect.headers
    assert [cookie.partition("=")[0] for cookie in cookies] == ["one", "two", "three"]
    assert cookies[0] == "one=1; " + cookies[0].partition("; ")[2]
    assert "Max-Age=60" in cookies[0]
    assert "HttpOnly" in cookies[0]
    assert "SameSite=Lax" in cookies[1]


def test_session_of_a_redirected_answer_is_valid(site: Site) -> None:
    """A login that took a retry is a login."""
    site.follow(site.get("/kinds/session?fail=1"))

    assert site.get("/whoami").text == "ada"


@pytest.mark.parametrize("framework", [QUART], indirect=True)
def test_headers_of_one_connection_are_not_replayed(site: Site) -> None:
    """
    What concerned the connection of the first answer, or the server that sent it, is not sent on another one.

    A WSGI application may not set such headers at all.
    """
    straight = site.get(f"/kinds/{CONNECTION_HEADERS}")
    answer = site.follow(site.get(f"/kinds/{CONNECTION_HEADERS}?fail=2"))

    assert straight.headers["keep-alive"] == "timeout=5"
    assert answer.text == straight.text
    for name in ("keep-alive", "trailer", "connection"):
        assert name not in answer.headers
    assert "mine" not in answer.headers.get_list("server")
    assert len(answer.headers.get_list("date")) == 1


def test_streamed_answer_is_framed_anew(site: Site) -> None:
    """The recorded chunks are sent as one body, framed once."""
    answer = site.follow(site.get("/kinds/streamed?fail=1"))

    assert len(answer.headers.get_list("content-length")) + len(answer.headers.get_list("transfer-encoding")) == 1
    assert answer.text == "".join(f"chunk {number}\n" for number in range(20))


def test_streaming_answer_is_streamed_when_nothing_fails(site: Site) -> None:
    """At the first pass the client sees the first chunk while the second one is still being made."""
    with site.client.stream("GET", "/stream") as response:
        chunks = response.iter_raw()
        first = next(chunks)
        before = [run.status for run in site.records.runs()]
        site.outside.open("stream")
        rest = b"".join(chunks)

    assert (first, rest) == (b"one ", b"two")
    # The run ends when its last chunk has gone.
    assert before == ["running"]
    assert site.records.wait_for_end(response.headers[RUN_ID]).status == "completed"


def test_streaming_answer_is_recorded_whole(site: Site) -> None:
    """At a re-entry the stream is made to its end, then the client gets all of it."""
    redirect = site.get("/stream?fail=1")
    site.outside.open("stream")

    assert site.follow(redirect).text == "one two"


def test_head_has_the_headers_and_no_body(site: Site) -> None:
    """HEAD runs the handler as the framework does, and a redirected HEAD gets the same headers."""
    redirect = site.client.head("/kinds/binary?fail=1")
    redirected = site.follow(redirect)
    straight = site.client.head("/kinds/binary")

    assert redirect.status_code == 303
    for response in (redirected, straight):
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-length"] == str(len(BINARY))
        assert response.request.method == "HEAD"
    assert answer_of(redirected) == answer_of(straight)
    assert site.outside.counts() == {"flaky": 3}


def test_get_of_the_wait_url_answers_as_often_as_asked(site: Site) -> None:
    """The recorded answer is there again and again, the same each time."""
    redirect = site.get("/kinds/cookies?fail=1")
    answers = [answer_of(site.follow(redirect)) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    assert site.outside.counts() == {"flaky": 2}
