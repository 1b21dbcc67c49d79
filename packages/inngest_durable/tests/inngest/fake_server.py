"""
A fake of the Inngest server: an HTTP server of its own that calls the application back over HTTP.

It does what the real one was seen to do, its oddities included; it verifies what it is sent (`FakeInngest.violations`),
and misbehaves when it is told to (`FakeInngest.faults`). It knows nothing of the SDK under test.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from packages.inngest_durable.tests.inngest.fake_answers import Call, Reply
from packages.inngest_durable.tests.inngest.fake_api import Api
from packages.inngest_durable.tests.inngest.fake_clock import FakeClock
from packages.inngest_durable.tests.inngest.fake_faults import Faults
from packages.inngest_durable.tests.inngest.fake_ops import Operations
from packages.inngest_durable.tests.inngest.fake_pace import Pace
from packages.inngest_durable.tests.inngest.fake_queue import Queue, send
from packages.inngest_durable.tests.inngest.fake_runs import Runs
from packages.inngest_durable.tests.inngest.fake_state import RUNNING, Dispatch, Job, Json, Run
from testkit.servers import AsgiThread
from testkit.waiting import PATIENCE_SECONDS, wait_until

T = TypeVar("T")

SIGNING_KEY = "signkey-test-" + "ab12cd34" * 8
EVENT_KEY = "an-event-key"
_POLL_SECONDS = 0.005


class FakeInngest(AsgiThread):
    """
    The fake server, in a thread.

    Args:
        signing_key: Calls must be authenticated with it, and requests to the application are signed; None for a
            development server, where neither is so.
        event_key: Events must be sent with it; None: with any.
        clock: The time of the queue; real time unless told otherwise.
        pace: How fast the server is.

    Attributes:
        faults: How it is to misbehave.
        url: Where it is, without a slash at the end.
    """

    def __init__(
        self,
        *,
        signing_key: str | None = None,
        event_key: str | None = None,
        clock: FakeClock | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.pace = pace or Pace()
        self.faults = Faults()
        self._kind = "dev" if signing_key is None else "cloud"
        self._signing_key = signing_key
        self._event_key = event_key
        self._runs = Runs(self.clock)
        operations = Operations(self._runs, self.pace)
        self._queue = Queue(self._runs, operations, self.faults, self.pace, signing_key)
        self._api = Api(self._runs, operations, self.faults, self.pace, signing_key=signing_key, event_key=event_key)
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_level="critical",
            loop="asyncio",
        )
        self._server = uvicorn.Server(config)
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """Return the variables with which an application finds this server."""
        if self._signing_key is None:
            return {"INNGEST_DEV": self.url}
        keys = {"INNGEST_SIGNING_KEY": self._signing_key, "INNGEST_EVENT_KEY": self._event_key or "any"}
        return {"INNGEST_DEV": "0", "INNGEST_BASE_URL": self.url, **keys}

    @property
    def violations(self) -> list[str]:
        """What the application should not have sent or answered; a test of a faultless one asserts that it is empty."""
        return self._runs.violations

    def take_violations(self) -> list[str]:
        """Return the violations so far, and forget them: for a test that means to commit some."""
        return self._on_loop(lambda: [self._runs.violations.pop(0) for _ in list(self._runs.violations)])

    @property
    def runs(self) -> list[Run]:
        """Every run, oldest first."""
        return list(self._runs.runs.values())

    @property
    def events(self) -> list[Json]:
        """Every event received or made, oldest first."""
        return list(self._runs.events)

    @property
    def calls(self) -> list[Call]:
        """Every call of the API, in order."""
        return list(self._api.calls)

    def run(self, run_id: str) -> Run:
        """Return a run. Raises KeyError."""
        return self._runs.runs[run_id]

    def only_run(self) -> Run:
        """Return the run, if there is one."""
        (run,) = self.runs
        return run

    def jobs(self, run_id: str | None = None) -> list[Job]:
        """Return the re-entries to come of a run, or of all."""
        return [job for job in list(self._runs.jobs) if run_id in (None, job.run_id)]

    def dispatches(self, run_id: str | None = None) -> list[Dispatch]:
        """Return the requests to the application for a run, or for all, in order."""
        return [each for each in list(self._queue.dispatches) if run_id in (None, each.run_id)]

    def called(self, pattern: str) -> list[Call]:
        """Return the calls whose method and path match *pattern*, e.g. ``"GET /v0/runs/.*/actions"``."""
        return [call for call in self.calls if re.fullmatch(pattern, f"{call.method} {call.path}")]

    def send_event(self, name: str, data: Any = None, **fields: Any) -> None:
        """Take in an event, as if somebody had sent it."""
        now = self.clock.now()
        event = {"data": data or {}, "id": f"event-{time.monotonic_ns()}", "name": name, "ts": int(now * 1000)}
        self._on_loop(lambda: self._runs.publish(event | fields))

    def signal(self, name: str, data: Any = None) -> str | None:
        """Send a signal; returns the ID of the run that waited for it, or None."""
        return self._on_loop(lambda: self._runs.signal(name, data))

    def advance(self, seconds: float) -> None:
        """Move the queue's time on."""
        self.clock.advance(seconds)

    def hurry(self, run_id: str | None = None) -> None:
        """Make every job due at once, before its time."""

        def hurry() -> None:
            for job in self.jobs(run_id):
                job.at = self.clock.now()

        self._on_loop(hurry)

    def postpone(self, seconds: float) -> None:
        """Make every job that is there due later."""

        def postpone() -> None:
            for job in self.jobs():
                job.at += seconds

        self._on_loop(postpone)

    def restart(self, *, keep_state: bool) -> None:
        """
        Do as if the server had been started again.

        Args:
            keep_state: False for a server without external Redis: queue and state are gone, so `actions` answers 410
                and nothing enters the runs again, but they still look Running and their tokens are good.
        """

        def restart() -> None:
            for run in self.runs:
                if not keep_state and run.status == RUNNING:
                    self._runs.forget(run)

        self._on_loop(restart)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """Cut every connection meanwhile, and dispatch nothing."""
        self.faults.is_unreachable = True
        try:
            yield
        finally:
            self.faults.is_unreachable = False

    def replay(self, dispatch: Dispatch, url: str | None = None, **headers: str) -> Dispatch:
        """Make the request of *dispatch* again, at another *url* or with other *headers*; returns what came of it."""
        changed = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        kept = [(name, value) for name, value in dispatch.headers if name.lower() not in changed]
        again = Dispatch(
            *(dispatch.run_id, dispatch.job_id, dispatch.request_id, dispatch.method, url or dispatch.url),
            headers=kept + list(changed.items()),
            body=dispatch.body,
            at=self.clock.now(),
            is_applied=False,
        )
        self.call(lambda: send(again))
        return again

    def wait_until(self, condition: Callable[[], T], what: str, timeout_seconds: float = PATIENCE_SECONDS) -> T:
        """Wait until *condition* is true, from a thread without an event loop. Raises TimeoutError, with the story."""
        try:
            return wait_until(condition, what, timeout_seconds)
        except TimeoutError as error:
            error.add_note(self.story())
            raise

    async def until(self, condition: Callable[[], T], what: str, timeout_seconds: float = PATIENCE_SECONDS) -> T:
        """Do what `wait_until` does, in a coroutine."""
        deadline = time.monotonic() + timeout_seconds
        while not (answer := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout_seconds:g} s for {what}\n{self.story()}")
            await asyncio.sleep(_POLL_SECONDS)
        return answer

    def story(self) -> str:
        """Return what happened, for a test that failed."""
        lines = [f"{run.run_id} {run.slug} {run.status}: {[(o.name, o.step) for o in run.ops]}" for run in self.runs]
        lines += [f"dispatch {d.run_id} -> {d.status} {d.error} {d.response[:200]!r}" for d in self.dispatches()]
        lines += [f"job {job}" for job in self.jobs()] + [f"violation: {text}" for text in self.violations]
        return "\n".join(lines)

    def _on_loop(self, work: Callable[[], T]) -> T:
        async def working() -> T:
            return work()

        return self.call(working)

    async def _serve(self) -> None:
        working = asyncio.get_running_loop().create_task(self._queue.work())
        await self._server.serve(sockets=[self._listener])
        working.cancel()

    def _is_started(self) -> bool:
        return self._server.started

    def _ask_to_stop(self) -> None:
        self._api.is_stopping = True
        self._server.should_exit = True

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        transport: asyncio.Transport = scope["state"]["transport"]
        if self.faults.is_unreachable:
            transport.abort()
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = await _body(receive)
        query = parse_qs(scope["query_string"].decode())
        call = Call(scope["method"], scope["path"], query, headers, body, transport.is_closing)
        reply = Reply(200) if call.method == "OPTIONS" else await self._api.answer(call)
        if reply is None:
            transport.abort()
            return
        extra = {"vary": "Origin", "x-inngest-server-kind": self._kind}
        if "origin" in headers:
            extra["access-control-allow-origin"] = headers["origin"]
        names = {**reply.headers, **extra}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in names.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if call.method == "HEAD" else reply.body})


class _Protocol(H11Protocol):
    """Tells the application which connection a request came by, so that it can be cut."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body
