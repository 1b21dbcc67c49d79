"""The pure parts of the HTTP contract."""

from __future__ import annotations

import json
from typing import Any

import pytest
from inngest_durable._core import http
from inngest_durable._core.model import Headers, RecordedRequest, RecordedResponse, Run, RunStatus
from msgspec.structs import replace

REQUEST = RecordedRequest("GET", "http", "", "/orders/1", b"/orders/1", b"", (), None, None, "1.1", b"")


def ended(response: RecordedResponse, request: RecordedRequest = REQUEST) -> Run:
    """Return a run that has answered *request* with *response*."""
    return Run("R1", "app", "order", request, 0.0, RunStatus.COMPLETED, response=response)


def names(headers: Headers) -> list[bytes]:
    """Return the names of *headers*."""
    return [name for name, _ in headers]


def value(response: RecordedResponse, name: bytes) -> bytes | None:
    """Return the only header of that name, or None."""
    found = [given for header, given in response.headers if header == name]
    assert len(found) < 2
    return found[0] if found else None


def test_recorded_headers_leave_out_those_of_the_connection() -> None:
    """Hop-by-hop headers, Date and Server are the sending server's; cookies keep their order."""
    headers = (
        (b"Content-Type", b"text/html"),
        (b"Set-Cookie", b"a=1"),
        (b"DATE", b"now"),
        (b"Server", b"hypercorn"),
        (b"Connection", b"keep-alive"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Set-Cookie", b"b=2"),
    )

    assert http.recorded_headers(headers) == (
        (b"content-type", b"text/html"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    )


@pytest.mark.parametrize(
    ("redirect_url", "root_path", "expected"),
    [
        (None, "", "/_inngest/runs/R1/output?token=t%2B%3D"),
        (None, "/shop é", "/shop%20%C3%A9/_inngest/runs/R1/output?token=t%2B%3D"),
        ("/wait", "", "/wait?runId=R1&token=t%2B%3D"),
        ("/wait?lang=en", "/shop", "/shop/wait?lang=en&runId=R1&token=t%2B%3D"),
        ("https://shop.example/wait", "/shop", "https://shop.example/wait?runId=R1&token=t%2B%3D"),
        ("https://shop.example/#/wait", "", "https://shop.example/?runId=R1&token=t%2B%3D#/wait"),
        ("/wait?lang=en#top", "/shop", "/shop/wait?lang=en&runId=R1&token=t%2B%3D#top"),
        (lambda run_id, token: f"/w/{run_id}/{token}", "/shop", "/w/R1/t+="),
    ],
    ids=["default", "mounted", "path", "path with query", "URL", "URL with fragment", "path with all", "callable"],
)
def test_wait_location_needs_no_configuration_of_proxies(redirect_url: Any, root_path: str, expected: str) -> None:
    """A path without scheme and host, unless the user wants it otherwise."""
    assert http.wait_location(redirect_url, root_path, "R1", "t+=") == expected


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, 25.0),
        ("", 25.0),
        ("wait=3", 3.0),
        ("respond-async, Wait = 10", 10.0),
        ('wait="7"; x=1', 7.0),
        ("wait=0", 0.0),
        ("wait=9999999999", 25.0),
        ("wait=-1", 25.0),
        ("wait=1.5", 25.0),
        ("await=3", 25.0),
        ("wait", 25.0),
    ],
)
def test_prefer_wait_is_clamped(prefer: str | None, seconds: float) -> None:
    """From 0 to 25 seconds; what cannot be read counts as not given."""
    assert http.prefer_wait(prefer) == seconds


def test_redirect_is_not_stored_by_anyone() -> None:
    """A 303 without body, that names the run."""
    response = http.redirect("/wait?token=t", "R1")

    assert (response.status, response.body) == (303, b"")
    assert value(response, b"location") == b"/wait?token=t"
    assert value(response, b"cache-control") == b"no-store"
    assert value(response, b"referrer-policy") == b"no-referrer"
    assert value(response, b"x-inngest-run-id") == b"R1"


def test_cors_headers_of_the_framework_go_along() -> None:
    """Cookies do not, nor that the framework's own answer varies with them."""
    headers = (
        (b"Set-Cookie", b"a=1"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Vary", b"Cookie, Origin"),
        (b"Vary", b"Cookie"),
    )

    assert http.cors_of(headers) == ((b"access-control-allow-origin", b"*"), (b"vary", b"Origin"))


def test_replayed_response_is_the_recorded_one() -> None:
    """Status, headers and body, with our own headers in place of the same ones."""
    recorded = RecordedResponse(201, ((b"set-cookie", b"a=1"), (b"cache-control", b"max-age=60")), b"booked")
    response = http.replayed(ended(recorded), "", "GET")

    assert (response.status, response.body) == (201, b"booked")
    assert value(response, b"set-cookie") == b"a=1"
    assert value(response, b"cache-control") == b"no-store"
    assert value(response, b"x-inngest-run-id") == b"R1"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("done", "/pre%20fix/orders/done"),
        ("?page=2", "/pre%20fix/orders/1?page=2"),
        ("../carts/", "/pre%20fix/carts/"),
        ("#paid", "/pre%20fix/orders/1#paid"),
        ("caf\xe9", "/pre%20fix/orders/caf\xe9"),
        ("/elsewhere", "/elsewhere"),
        ("//shop.example/x", "//shop.example/x"),
        ("https://shop.example/a/../b", "https://shop.example/a/../b"),
        ("mailto:ada@shop.example", "mailto:ada@shop.example"),
    ],
)
@pytest.mark.parametrize("path", ["/orders/1", "/pre fix/orders/1"])
def test_relative_location_leads_where_it_did(location: str, expected: str, path: str) -> None:
    """The wait URL is another one than that to which it is relative. In ASGI the path has the prefix, in WSGI not."""
    request = replace(REQUEST, path=path, root_path="/pre fix")
    recorded = RecordedResponse(302, ((b"location", location.encode("latin-1")),), b"")

    assert value(http.replayed(ended(recorded, request), "/pre fix", "GET"), b"location") == expected.encode("latin-1")


def test_relative_location_below_a_path_that_begins_like_the_prefix() -> None:
    """The path of a WSGI environ has no prefix, whatever it begins with."""
    request = replace(REQUEST, path="/shopping/1", root_path="/shop")
    recorded = RecordedResponse(302, ((b"location", b"done"),), b"")

    assert value(http.replayed(ended(recorded, request), "/shop", "GET"), b"location") == b"/shop/shopping/done"


def test_answer_to_head_has_its_length_for_head_only() -> None:
    """Whoever asks for it by GET would wait for a body of that length."""
    recorded = RecordedResponse(200, ((b"content-length", b"6"),), b"")
    run = ended(recorded, replace(REQUEST, method="HEAD"))

    assert value(http.replayed(run, "", "HEAD"), b"content-length") == b"6"
    assert value(http.replayed(run, "", "GET"), b"content-length") is None
    assert value(http.replayed(ended(recorded), "", "GET"), b"content-length") == b"6"


def test_idempotent_replay_keeps_the_cookies_of_the_first_to_itself() -> None:
    """And says that it is one."""
    recorded = RecordedResponse(201, ((b"set-cookie", b"a=1"), (b"cache-control", b"max-age=60")), b"booked")
    response = http.idempotent_replay(recorded, "R1")

    assert (response.status, response.body) == (201, b"booked")
    assert value(response, b"set-cookie") is None
    assert value(response, b"cache-control") == b"max-age=60"
    assert value(response, b"idempotent-replayed") == b"true"
    assert value(response, b"x-inngest-run-id") == b"R1"


def test_with_headers_replaces_those_of_the_same_name() -> None:
    """Vary adds up."""
    response = RecordedResponse(200, ((b"vary", b"Cookie"), (b"allow", b"GET"), (b"etag", b"1")), b"")
    changed = http.with_headers(response, ((b"vary", b"Origin"), (b"allow", b"POST")))

    assert changed.headers == ((b"vary", b"Cookie"), (b"etag", b"1"), (b"vary", b"Origin"), (b"allow", b"POST"))


@pytest.mark.parametrize(("status", "has_length"), [(200, True), (404, True), (204, False), (304, False)])
def test_framed_gives_a_length_where_there_is_a_body(status: int, has_length: bool) -> None:
    """A framework's own length stays."""
    assert (b"content-length" in names(tuple(http.framed(RecordedResponse(status, (), b"abc"))))) is has_length
    own = ((b"content-length", b"3"),)
    assert http.framed(RecordedResponse(200, own, b"abc")) == list(own)


def test_answer_is_json_that_nobody_stores() -> None:
    """An answer of this package itself, with and without a run."""
    response = http.answer(404, {"error": "no"}, extra=((b"retry-after", b"5"),))

    assert json.loads(response.body) == {"error": "no"}
    assert value(response, b"content-type") == b"application/json"
    assert value(response, b"cache-control") == b"no-store"
    assert value(response, b"retry-after") == b"5"
    assert value(response, b"x-inngest-run-id") is None
    assert value(http.answer(202, {}, "R1"), b"x-inngest-run-id") == b"R1"


def test_unavailable_tells_when_to_come_back() -> None:
    """Nothing was accepted, so the request may be sent again."""
    response = http.unavailable("the disk is full")

    assert response.status == 503
    assert value(response, b"retry-after") == b"5"
    assert json.loads(response.body) == {"error": "the disk is full; try again later"}


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (("*",), "https://a.example", b"*"),
        (("*",), None, None),
        (("https://a.example",), "https://a.example", b"https://a.example"),
        (("https://a.example",), "https://b.example", None),
        (("https://a.example",), None, None),
    ],
)
def test_cors_allows_the_configured_origins(
    origins: tuple[str, ...], origin: str | None, allowed: bytes | None
) -> None:
    """Caches must keep answers to different origins apart, unless all get the same."""
    headers = dict(http.Cors(origins).headers(origin))

    assert headers.get(b"access-control-allow-origin") == allowed
    assert headers.get(b"vary") == (None if "*" in origins else b"Origin")


def test_preflight_allows_to_read() -> None:
    """The wait URL is read by a browser with a header or two of its own."""
    response = http.Cors().preflight("https://a.example")

    assert response.status == 204
    assert value(response, b"access-control-allow-origin") == b"*"
    assert value(response, b"access-control-allow-methods") == b"GET, HEAD, DELETE, OPTIONS"
    assert b"Last-Event-ID" in (value(response, b"access-control-allow-headers") or b"")
