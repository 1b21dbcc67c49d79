"""One application under test: served on a real socket, with its database and its outside world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from inngest_durable import Inngest

from testkit.outside import Outside
from testkit.records import Records, database_of
from testkit.servers import ThreadServer, WsgiThread

RUN_ID = "x-inngest-run-id"


@dataclass(frozen=True, slots=True)
class Site:
    """
    A running application.

    Attributes:
        client: Talks to it; does not follow redirects by itself.
        outside: What its step functions did.
        visits: The paths of all requests and re-entries that reached its hooks.
        inngest: The application's client object, in this process.
        server: The server, on its own event loop.
    """

    client: httpx.Client
    outside: Outside
    visits: Outside
    records: Records
    inngest: Inngest
    server: ThreadServer

    @classmethod
    def at(cls, server: ThreadServer, inngest: Inngest, folder: Path) -> Site:
        """Return the site of an application that *server* serves and that keeps its things in *folder*."""
        # verify: the certificates take a while to load, and plain HTTP has no use for them.
        client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=20, trust_env=False, verify=False)
        return cls(client, Outside(folder), Outside(folder / "visits"), Records(database_of(folder)), inngest, server)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET *path* without following a redirect."""
        return self.client.get(path, **options)

    def follow(self, response: httpx.Response) -> httpx.Response:
        """Go where a redirect leads, with the same cookies, up to the answer."""
        while response.is_redirect and "/_inngest/" in response.headers["location"]:
            assert response.next_request is not None
            response = self.client.send(response.next_request)
        return response

    def cancel(self, run_id: str) -> bool:
        """Cancel a run as the application's own code does."""
        if isinstance(self.server, WsgiThread):
            return self.inngest.sync.cancel(run_id)
        return self.server.call(lambda: self.inngest.cancel(run_id))

    def leave(self) -> None:
        """Let go of whatever is held, and tell the server to end, which takes it a moment."""
        self.outside.open("*")
        self.client.close()
        self.server.ask_to_stop()

    def close(self) -> None:
        """Let go of whatever is held, and end the server."""
        self.leave()
        self.server.stop()
        if isinstance(self.server, WsgiThread):
            # There is no lifespan that would do it.
            self.server.call(self.inngest.stop)
