"""
The rules by which a browser lets a page read another origin (Fetch standard, 4.1 to 4.8), over httpx.

Only what matters to a redirected client: which requests are asked for first by OPTIONS, that each hop of a redirect is
checked anew, and which headers a page may read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import httpx

_SIMPLE_METHODS = {"GET", "HEAD", "POST"}
_SIMPLE_TYPES = {"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}
_BODY_HEADERS = {"content-type", "content-encoding", "content-language", "content-location"}
_READABLE = {
    "cache-control",
    "content-language",
    "content-length",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
}
_REDIRECTS = {301, 302, 303, 307, 308}


class BlockedError(Exception):
    """The browser hides the response from the page; the page sees "Failed to fetch" and no more."""


class Page:
    """
    A page of *origin* that fetches from the server of *client*, which is of another origin.

    Args:
        credentials: Whether it asks with ``credentials: "include"``.

    Attributes:
        preflights: The paths that were asked for by OPTIONS.
    """

    def __init__(self, client: httpx.Client, origin: str, *, credentials: bool = False) -> None:
        self.preflights: list[str] = []
        self._client = client
        self._origin = origin
        self._credentials = credentials

    def fetch(self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> httpx.Response:
        """
        Follow *url* to its answer, as ``fetch()`` does, and return it with the headers that the page may read.

        Raises:
            BlockedError: A hop did not allow it.
        """
        own = {name.lower(): value for name, value in (headers or {}).items()}
        for _ in range(20):
            self._ask_first(url, method, own)
            body = b"{}" if method == "POST" else None
            response = self._client.request(method, url, headers={**own, "Origin": self._origin}, content=body)
            self._check(response)
            if response.status_code not in _REDIRECTS:
                return self._readable(response)
            if method == "POST" and response.status_code == 303:
                method = "GET"
                own = {name: value for name, value in own.items() if name not in _BODY_HEADERS}
            url = str(response.url.join(response.headers["location"]))
        raise BlockedError("too many redirects")

    def _ask_first(self, url: str, method: str, headers: Mapping[str, str]) -> None:
        unsafe = sorted(name for name, value in headers.items() if not _is_simple(name, value))
        if method in _SIMPLE_METHODS and not unsafe:
            return
        asked = {"Origin": self._origin, "Access-Control-Request-Method": method}
        if unsafe:
            asked["Access-Control-Request-Headers"] = ",".join(unsafe)
        answer = self._client.options(url, headers=asked)
        self.preflights.append(answer.url.path)
        self._check(answer)
        if not answer.is_success:
            raise BlockedError(f"preflight of {url}: {answer.status_code}")
        methods = _listed(answer.headers.get_list("access-control-allow-methods"))
        if method not in _SIMPLE_METHODS | methods and ("*" not in methods or self._credentials):
            raise BlockedError(f"preflight of {url}: {method} is not among {methods}")
        allowed = {name.lower() for name in _listed(answer.headers.get_list("access-control-allow-headers"))}
        for name in unsafe:
            if name not in allowed and ("*" not in allowed or self._credentials or name == "authorization"):
                raise BlockedError(f"preflight of {url}: {name} is not among {allowed}")

    def _check(self, response: httpx.Response) -> None:
        where = f"{response.request.method} {response.url}: {response.status_code}"
        origins = response.headers.get_list("access-control-allow-origin")
        if len(origins) != 1:
            raise BlockedError(f"{where}: Access-Control-Allow-Origin is there {len(origins)} times")
        if not self._credentials and origins == ["*"]:
            return
        if origins != [self._origin]:
            raise BlockedError(f"{where}: allowed is {origins[0]}, not {self._origin}")
        if self._credentials and response.headers.get_list("access-control-allow-credentials") != ["true"]:
            raise BlockedError(f"{where}: no credentials are allowed")

    def _readable(self, response: httpx.Response) -> httpx.Response:
        exposed = {name.lower() for name in _listed(response.headers.get_list("access-control-expose-headers"))}
        for name in set(response.headers) - exposed - _READABLE:
            del response.headers[name]
        return response


def _is_simple(name: str, value: str) -> bool:
    if name == "content-type":
        return value.partition(";")[0].strip().lower() in _SIMPLE_TYPES
    return name in {"accept", "accept-language", "content-language"}


def _listed(values: Iterable[str]) -> set[str]:
    return {item.strip() for value in values for item in value.split(",") if item.strip()}
