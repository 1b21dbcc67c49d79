"""The runs that this process begins at the server, and the IDs that the server has for their endpoints."""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from ..._core.model import RecordedRequest, Run
from ..base import Clock
from .api import InngestApi
from .ops import Op
from .outputs import Outputs
from .protocol import Created, create_body
from .requests import event_of, target_of

# How often the server repeats a dispatch that nobody answers: attempts of steps and handlers are counted here.
DISPATCH_RETRIES = 20
_MOST_TARGETS = 1000


class Creations:
    """
    Creates runs on the server.

    Args:
        api: The server.
        outputs: Gets the tokens of the runs.
        clock: The engine's time.
        serve_origin: Where the server reaches this application; empty for where the client did.
        kept_headers: Names, in lower case, of the request's headers that are kept with a run; None keeps all.
    """

    def __init__(
        self, api: InngestApi, outputs: Outputs, clock: Clock, serve_origin: str, kept_headers: Collection[bytes] | None
    ) -> None:
        self._api = api
        self._outputs = outputs
        self._clock = clock
        self._serve_origin = serve_origin
        self._kept_headers = kept_headers
        self._ids: dict[tuple[str, str], Created] = {}

    async def create(self, run: Run, first: Op) -> Created:
        """Create a run on the server with its first record, or find it there."""
        event = event_of(run.request, self._serve_origin)
        body = create_body(run.id, event, [first], DISPATCH_RETRIES, int(self._clock.now() * 1000))
        created = await self._api.create(body)
        self._outputs.issued(run.id, created.token)
        if len(self._ids) >= _MOST_TARGETS:
            # Paths with parameters are endless.
            self._ids.clear()
        self._ids[target_of(run.request)] = created
        return created

    def of_endpoint(self, run: Run) -> Created | None:
        """Return the server's IDs for a run, if one of its endpoint was created by this process."""
        return self._ids.get(target_of(run.request))

    def kept(self, request: RecordedRequest) -> RecordedRequest:
        """Return *request* with the headers that are kept with its run."""
        kept = self._kept_headers
        if kept is None:
            return request
        return replace(request, headers=tuple(header for header in request.headers if header[0].lower() in kept))
