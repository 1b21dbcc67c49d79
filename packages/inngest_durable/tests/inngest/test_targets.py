"""How a request's path is called, where a server of another language has to call it by the same name."""

from __future__ import annotations

import pytest
from inngest_durable._core.model import RecordedRequest
from inngest_durable.engines.inngest.requests import target_of


def request_to(raw_path: bytes, method: str = "GET", root_path: str = "") -> RecordedRequest:
    """Return a request."""
    return RecordedRequest(method, "http", root_path, "/", raw_path, b"", (), None, None, "1.1", b"")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/a-b_c.d~e/1", "/a-b_c.d~e/1"),
        (b"/!$&'()*+,;=:@[]", "/!$&'()*+,;=:@[]"),
        (b"/a%2Fb%7c", "/a%2Fb%7c"),
        (b'/a|b"c^d{e}', "/a%7Cb%22c%5Ed%7Be%7D"),
        (b"/<`\\>", "/%3C%60%5C%3E"),
        (b"/100%", "/100%25"),
        (b"/%zz%4", "/%25zz%254"),
        ("/ü".encode(), "/%C3%BC"),
        (b"/\xff", "/%FF"),
    ],
)
def test_path_is_named_as_the_server_names_it(raw: bytes, path: str) -> None:
    assert target_of(request_to(raw)) == ("GET", path)
    # What the server sends back has the same name.
    assert target_of(request_to(path.encode())) == ("GET", path)


@pytest.mark.parametrize(("sent", "named"), [("GET", "GET"), ("HEAD", "GET"), ("POST", "POST"), ("PUT", "PUT")])
def test_head_is_named_get(sent: str, named: str) -> None:
    assert target_of(request_to(b"/a", sent)) == (named, "/a")


@pytest.mark.parametrize("raw", [b"/p%7Cq/a%7C", b"/a%7C", b"/p|q/a|"])
def test_prefix_is_part_of_the_path_with_a_proxy_or_without(raw: bytes) -> None:
    assert target_of(request_to(raw, root_path="/p|q")) == ("GET", "/p%7Cq/a%7C")


@pytest.mark.parametrize(
    ("raw", "root_path", "path"),
    [
        (b"/shopping", "/shop", "/shop/shopping"),
        (b"/shop", "/shop", "/shop"),
        (b"/a", "/", "/a"),
        (b"/a", "/p/", "/p/a"),
    ],
)
def test_prefix_is_told_from_a_name_that_begins_like_it(raw: bytes, root_path: str, path: str) -> None:
    assert target_of(request_to(raw, root_path=root_path)) == ("GET", path)
