"""One application on the fake server, and a clock that both go by: nothing happens before the test lets it."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from inngest_durable.engines.inngest.engine import InngestEngine
from inngest_durable.testing import VirtualClock

from packages.inngest_durable.tests.inngest.engine.application import Rows
from packages.inngest_durable.tests.inngest.fake_clock import FakeClock
from packages.inngest_durable.tests.inngest.fake_server import EVENT_KEY, SIGNING_KEY, FakeInngest
from packages.inngest_durable.tests.inngest.fake_state import Dispatch, Run
from packages.inngest_durable.tests.inngest.fake_wire import new_ulid, signature
from testkit.colourless import Web
from testkit.servers import ThreadServer, WsgiThread

LEASE_SECONDS = 60.0
_SECONDS = 30.0


class Rig:
    """
    The application on one fake server.

    Args:
        folder: Where its outside world is.
        web: The framework.
        signed: Whether the server signs what it sends, and wants keys.
        waits_at: Where redirected clients wait, as a route of the application; empty for the server's own URL.
        **options: Options of the engine.

    Attributes:
        outside: What the steps did.
        clock: The time of the engine and of the server's queue.
    """

    def __init__(self, folder: Path, web: Web, *, signed: bool = False, waits_at: str = "", **options: Any) -> None:
        self.clock = VirtualClock(start=time.time(), patience_seconds=0.02)
        keys: dict[str, Any] = {"signing_key": SIGNING_KEY, "event_key": EVENT_KEY} if signed else {}
        self.fake = FakeInngest(clock=FakeClock(source=self.clock.now), **keys)
        engine_keys = {"is_dev": not signed, "base_url": self.fake.url, "shutdown_grace": "1s", **keys, **options}
        self.engine = InngestEngine(clock=self.clock, **engine_keys)
        self.rows = Rows(folder, self.engine, waits_at)
        self.outside = self.rows.outside
        self.server: ThreadServer = web.servers[0](self.rows.app)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.client = httpx.Client(base_url=self.url, timeout=_SECONDS, trust_env=False, verify=False)
        self._threads = ThreadPoolExecutor(4)

    def ask(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Make a request, without following a redirect."""
        return self.client.request(method, path, **options)

    def asked(self, path: str, method: str = "GET", **options: Any) -> Future[httpx.Response]:
        """Make a request in a thread."""
        return self._threads.submit(self.ask, path, method, **options)

    def follow(self, response: httpx.Response) -> httpx.Response:
        """Let time pass until the redirected client's run has ended, and return the answer."""
        assert response.status_code == 303, response.text
        assert response.next_request is not None
        self.finish()
        return self.client.send(response.next_request)

    def answer(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """Make a request that is redirected, and return the run's answer."""
        return self.follow(self.ask(path, method, **options))

    def finish(self) -> Run:
        """Let time pass, from one job of the server to the next, until the first run has ended; return it."""
        run = self.fake.runs[0]
        while self._is_next(run):
            at = min(job.at for job in self.fake.jobs())
            # No further ahead than real time for what is signed.
            self.advance(max(0.0, at - self.clock.now()))
        return run

    def _is_next(self, run: Run) -> bool:
        """Wait for the end of what goes on; tell whether a job is to come."""

        def rests() -> bool:
            jobs = self.fake.jobs()
            return run.is_over or (bool(jobs) and not any(job.is_dispatched for job in jobs))

        self.fake.wait_until(rests, "the run to end, or to wait")
        return not run.is_over

    def advance(self, seconds: float) -> None:
        """Let time pass; whatever of the server's queue is due then is sent."""
        self.fake.faults.signature_seconds += round(seconds)
        self.clock.advance(seconds)

    def dispatched(self, count: int) -> list[Dispatch]:
        """Wait until the server has sent so many requests and has their answers; return all of them."""
        self.fake.wait_until(
            lambda: len(done := self.fake.dispatches()) >= count and all(one.is_over for one in done),
            f"{count} dispatches",
        )
        return self.fake.dispatches()

    def dispatch(
        self,
        run_id: str,
        path: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        key: str = SIGNING_KEY,
        late: int = 0,
        signed: str | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Make a request as the server does, or as somebody does who pretends to be it."""
        made = {
            "x-run-id": run_id,
            "x-request-id": new_ulid(time.time()),
            "x-inngest-signature": signature(body, key, int(self.clock.now()) + late) if signed is None else signed,
        }
        made |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in made.items() if value != "-"}
        return self.client.request(method, path, content=body, headers=sent)

    def stop(self) -> None:
        """End the application."""
        self.outside.open("*")
        self._threads.shutdown()
        self.client.close()
        self.server.stop()
        if isinstance(self.server, WsgiThread):
            # There is no lifespan that would do it.
            self.server.call(self.rows.inngest.stop)


def counts(rig: Rig) -> dict[str, int]:
    """Return how often each action of a step happened."""
    return {action: count for action, count in rig.outside.counts().items() if not action.startswith("pass ")}
