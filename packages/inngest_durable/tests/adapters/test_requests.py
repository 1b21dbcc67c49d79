"""What a handler sees of the request at a re-entry is what it saw in the client's request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from packages.inngest_durable.tests.adapters.site import Site


def passes(site: Site) -> list[dict[str, Any]]:
    """Return what the handler saw at each pass."""
    return [call["seen"] for call in site.outside.calls("pass")]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_method_is_the_same_at_reentry(site: Site, method: str) -> None:
    """Both passes see the client's method."""
    answer = site.follow(site.client.request(method, "/echo/tail"))

    assert answer.json()["method"] == method
    assert [seen["method"] for seen in passes(site)] == [method, method]


def test_url_is_the_same_at_reentry(site: Site) -> None:
    """Path, URL argument, query with its repeats, and what is built from them."""
    base = str(site.client.base_url).rstrip("/")
    query = "a=1&b=%C3%BC&a=2&empty="
    answer = site.follow(site.get(f"/echo/with%20space%2B?{query}")).json()

    first, second = passes(site)
    assert first == second == answer
    assert answer["path"] == "/echo/with space+"
    assert answer["tail"] == "with space+"
    assert answer["query"] == [["a", "1"], ["a", "2"], ["b", "ü"], ["empty", ""]]
    assert answer["url"].endswith("?a=1&b=ü&a=2&empty=")
    assert answer["url_for"] == f"{base}/echo/next"
    assert answer["endpoint"] == "echo"
    assert answer["remote"] == "127.0.0.1"


def test_headers_are_the_same_at_reentry(site: Site) -> None:
    """Custom headers, repeated ones, credentials and the host arrive again, unchanged."""
    headers = [("X-Custom", "one"), ("X-Custom", "two"), ("Authorization", "Basic YWRhOmxvdmVsYWNl"), ("X-User", "eve")]
    answer = site.follow(site.get("/echo/tail", headers=headers)).json()

    first, second = passes(site)
    assert first == second == answer
    # CGI, and so WSGI, joins what is repeated.
    custom = ",".join(value for name, value in answer["headers"] if name.lower() == "x-custom")
    assert [value.strip() for value in custom.split(",")] == ["one", "two"]
    assert answer["authorization"] == ["basic", "ada", "lovelace"]
    # Set by a before_request hook, at each pass.
    assert answer["g"] == "eve"


def test_cookies_and_session_are_the_same_at_reentry(site: Site) -> None:
    """The client's cookies, the signed session among them, are seen at each pass."""
    site.get("/kinds/session")
    site.client.cookies.set("plain", "yes")
    answer = site.follow(site.get("/echo/tail")).json()

    first, second = passes(site)
    assert first == second == answer
    assert answer["user"] == "ada"
    assert answer["cookies"]["plain"] == "yes"


def test_json_body_is_there_at_reentry(site: Site) -> None:
    """A handler that reads JSON reads the same at each pass."""
    sent = {"text": "zwölf", "list": [1, 2, None]}
    answer = site.follow(site.client.post("/echo/tail", json=sent)).json()

    first, second = passes(site)
    assert first == second == answer
    assert answer["json"] == sent


@pytest.mark.parametrize(
    "body", [b"", b"\x00\xff raw", bytes(range(256)) * 2_000], ids=["empty", "binary", "several packets"]
)
def test_raw_body_is_there_at_reentry(site: Site, body: bytes) -> None:
    """Bytes arrive again as they were sent, however many messages they came in."""
    site.follow(site.client.post("/echo/tail", content=body))

    first, second = (bytes.fromhex(seen["body"]) for seen in passes(site))
    assert first == body
    assert second == body


def test_chunked_body_is_there_at_reentry(site: Site) -> None:
    """A body without a length, sent in chunks, is recorded whole."""
    chunks = [b"one ", b"two ", b"three"]
    site.follow(site.client.post("/echo/tail", content=iter(chunks)))

    assert [bytes.fromhex(seen["body"]) for seen in passes(site)] == [b"one two three"] * 2


def test_form_is_there_at_reentry(site: Site) -> None:
    """A form's fields come in their order, repeated ones too."""
    answer = site.follow(site.client.post("/form", data={"name": "Ada", "tag": ["a", "ü"]})).json()

    first, second = passes(site)
    assert first == second == answer
    assert answer["fields"] == [["name", "Ada"], ["tag", "a"], ["tag", "ü"]]


def test_upload_is_there_at_reentry(site: Site) -> None:
    """A file sent by a form has its name, type and bytes at each pass."""
    content = bytes(range(256)) * 40
    files = {"picture": ("cat.png", content, "image/png")}
    answer = site.follow(site.client.post("/form", data={"title": "cat"}, files=files)).json()

    first, second = passes(site)
    assert first == second == answer
    assert answer["fields"] == [["title", "cat"]]
    assert answer["files"] == [["picture", "cat.png", "image/png", content.hex()]]


def test_reentry_sees_the_recorded_request_not_a_later_one(site: Site) -> None:
    """The request that fetches the answer is another one; the handler does not see it."""
    redirect = site.client.post("/echo/tail?mine=1", json={"mine": True})
    site.client.headers["X-Custom"] = "from the waiting client"
    answer = site.follow(redirect).json()

    assert answer["json"] == {"mine": True}
    assert "from the waiting client" not in json.dumps(passes(site))


def test_reentry_has_a_context_of_its_own(site: Site) -> None:
    """Nothing that another request left in ``g`` is seen at a re-entry."""
    assert site.follow(site.get("/marked")).text == "None"
