"""Where a scenario takes place: the application, served on a real socket, on one backend."""

from __future__ import annotations

from typing import Any

import httpx

from packages.inngest_durable.tests.inngest.conformance.application import Conformance
from packages.inngest_durable.tests.inngest.fake_server import FakeInngest
from packages.inngest_durable.tests.inngest.fake_wire import new_ulid
from testkit.servers import ThreadServer, WsgiThread
from testkit.waiting import wait_until

_SECONDS = 30.0


class Place:
    """
    The application on one backend.

    Attributes:
        backend: ``"embedded"``, ``"fake"``, ``"fake-signed"`` or ``"real"``.
        outside: What its step functions did.
        key: A text of this scenario alone: events and signals of others may be about.
    """

    def __init__(self, backend: str, made: Conformance, server: ThreadServer, fake: FakeInngest | None) -> None:
        self.backend = backend
        self.outside = made.outside
        self.key = new_ulid(0)[-12:]
        self.fake = fake
        self._inngest = made.inngest
        self._server = server
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{server.port}", timeout=_SECONDS, trust_env=False, verify=False
        )

    def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Make a request, without following a redirect."""
        return self.client.request(method, path, **options)

    def follow(self, response: httpx.Response) -> httpx.Response:
        """Go where redirects lead, up to the handler's answer."""
        while response.status_code in (302, 303):
            assert response.next_request is not None
            response = self.client.send(response.next_request)
        if self.backend == "real":
            # It may know that a run has ended before it has the output: then it answers with nothing.
            return wait_until(lambda: [whole] if (whole := self._whole(response)) is not None else [], "the output")[0]
        return response

    def _whole(self, response: httpx.Response) -> httpx.Response | None:
        """Return *response*, or what the server answers now where that was empty; None if it still is."""
        if response.content or response.status_code != 200:
            return response
        again = self.client.send(response.request)
        return again if again.content else None

    def answer(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Make a request, and return the handler's answer."""
        return self.follow(self.ask(path, method, **options))

    def cancel(self, run_id: str) -> bool:
        """Cancel a run as the application's own code does."""
        if isinstance(self._server, WsgiThread):
            return self._inngest.sync.cancel(run_id)
        return self._server.call(lambda: self._inngest.cancel(run_id))

    def signal(self, name: str, data: Any) -> bool:
        """Send a signal as the application's own code does."""
        if isinstance(self._server, WsgiThread):
            return self._inngest.sync.send_signal(name, data)
        return self._server.call(lambda: self._inngest.send_signal(name, data))

    def close(self) -> None:
        """End the application."""
        self.client.close()
        self._server.stop()
        if isinstance(self._server, WsgiThread):
            # There is no lifespan that would do it.
            self._server.call(self._inngest.stop)
