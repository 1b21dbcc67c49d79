"""The client's request, as an Inngest server keeps it and sends it back. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from ..._core.model import RecordedRequest
from .protocol import HttpRequestEvent

# What Go, in which the server is written, leaves as it is in a path.
_ALLOWED = "/%!$&'()*+,;=:@[]~"
_LONE_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def target_of(request: RecordedRequest) -> tuple[str, str]:
    """
    Return method and path of *request*, as the server calls them: what tells an endpoint from others.

    HEAD is GET: the answer to HEAD has no body, and the server reads what to do next from that. What may not stand in
    a path as it is becomes percent-encoded, as at the server.
    """
    path = quote(_LONE_PERCENT.sub(b"%25", request.raw_path), safe=_ALLOWED)
    root = quote(request.root_path.rstrip("/"), safe=_ALLOWED)
    # Behind a proxy that takes the prefix away, the server has to call with it.
    method = "GET" if request.method == "HEAD" else request.method
    return method, path if f"{path}/".startswith(f"{root}/") else f"{root}{path}"


def event_of(request: RecordedRequest, serve_origin: str) -> HttpRequestEvent:
    """
    Return *request* as the event that begins its run.

    Args:
        request: The client's request.
        serve_origin: Where the server reaches this application; empty for where the client did.
    """
    method, path = target_of(request)
    host = request.header(b"host") or ":".join(map(str, request.server or ("localhost",)))
    address = (request.header(b"x-forwarded-for") or "").partition(",")[0].strip()
    return HttpRequestEvent(
        domain=serve_origin or f"{request.scheme}://{host}",
        path=path,
        method=method,
        query_params=request.query_string.decode("latin-1"),
        content_type=request.header(b"content-type") or "",
        ip=address or (request.client[0] if request.client else ""),
        body=request.body,
    )
