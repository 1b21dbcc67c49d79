"""The clients: each sends its requests one after the other, and remembers every answer and every error."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from chaos.kinds import EVENT, EVENT_KEY, NUMBERS
from chaos.requests import LEAVE_SECONDS, Request

# No disturbance lasts that long.
TIMEOUT_SECONDS = 45.0
# How long a redirected client waits for its answer. What it does not wait for, the books ask for.
PATIENCE_SECONDS = 4.0
# A client whose keyed request got no answer sends it again.
KEYED_TRIES = 4
TRY_AGAIN_SECONDS = 0.3

What = Literal["request", "wait", "event"]
# In the order of the tests: the first that fits.
_ERRORS: tuple[tuple[type[httpx.TransportError], str], ...] = (
    (httpx.TimeoutException, "timeout"),
    (httpx.ConnectError, "connection refused"),
    (httpx.TransportError, "connection lost"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What came of one HTTP request.

    Attributes:
        what: What was asked for.
        worker: Who was asked.
        began: When, by CLOCK_MONOTONIC.
        ended: When the answer, or the error, was there.
        status: HTTP status, or 0.
        run_id: Of the ``X-Inngest-Run-Id`` header, or empty.
        location: Of a redirect.
        body: Decoded JSON, or None.
        error: Its name, or empty if there is none.
    """

    what: What
    worker: str
    began: float
    ended: float
    status: int = 0
    run_id: str = ""
    location: str = ""
    body: Any = None
    error: str = ""

    @property
    def is_final(self) -> bool:
        """Whether it is the response of the run."""
        return self.status in (200, 402) and self.what != "event"


@dataclass(slots=True)
class Sent:
    """
    A request that was sent, and all that its client saw of it.

    Attributes:
        request: What was planned.
        answers: What came.
        left: Whether the client went away before the answer.
        events_due: Numbers of the events that are still to be sent for it, those of one request together.
    """

    request: Request
    answers: list[Answer] = field(default_factory=list)
    left: bool = False
    events_due: list[list[int]] = field(default_factory=list)

    @property
    def promised(self) -> set[str]:
        """IDs of the runs that the client was told of, by a response or a redirect."""
        return {answer.run_id for answer in self.answers if answer.run_id}

    @property
    def redirected_to(self) -> str:
        """Where the client was told to wait, or an empty text."""
        return next((answer.location for answer in self.answers if answer.location), "")


class Web:
    """
    How to reach the workers.

    Args:
        urls: Their URLs by name.
    """

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        # Each request has a connection of its own, so that an old one's end is nobody's error.
        self._client = httpx.Client(
            trust_env=False, limits=httpx.Limits(max_keepalive_connections=0), timeout=TIMEOUT_SECONDS
        )

    def ask(self, what: What, worker: str, path: str, *, method: str = "GET", **options: Any) -> Answer:
        """Send one HTTP request to a worker, without following a redirect."""
        began = time.monotonic()
        try:
            response = self._client.request(method, f"{self._urls[worker]}{path}", **options)
        except httpx.TransportError as error:
            name = next(name for kind, name in _ERRORS if isinstance(error, kind))
            return Answer(what, worker, began, time.monotonic(), error=name)
        status = response.status_code
        return Answer(
            what,
            worker,
            began,
            time.monotonic(),
            status,
            response.headers.get("x-inngest-run-id", ""),
            response.headers.get("location", ""),
            response.json() if status in (200, 402) else None,
            "" if status in (200, 202, 303, 402) else str(status),
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


class Client:
    """
    One client.

    Args:
        web: How to reach the workers.
        requests: What to send.
        stopping: Set when it is to end.

    Attributes:
        sent: What it has sent so far, written by its thread alone.
    """

    def __init__(self, web: Web, requests: Iterable[Request], stopping: threading.Event) -> None:
        self.sent: list[Sent] = []
        self._web = web
        self._requests = requests
        self._stopping = stopping

    def run(self) -> None:
        """Send requests until it is time to stop."""
        for request in self._requests:
            if self._stopping.is_set():
                return
            sent = Sent(request)
            self.sent.append(sent)
            self._send(sent)
            if request.kind.route == "told":
                # The first one twice: it has to count once. Both may be there before the second is waited for.
                first, second = NUMBERS
                sent.events_due = [[first, second], [first]] if request.at_once else [[first], [first], [second]]
                tell(self._web, sent, self._stopping.is_set)
            self._follow(sent)
            self._stopping.wait(request.think_seconds)

    def _send(self, sent: Sent) -> None:
        request = sent.request
        if request.kind.keyed:
            self._send_twice(sent)
        elif request.leaves:
            answer = self._web.ask("request", request.workers[0], request.path, timeout=LEAVE_SECONDS)
            sent.left = answer.error == "timeout"
            if not sent.left:
                sent.answers.append(answer)
        else:
            sent.answers.append(self._web.ask("request", request.workers[0], request.path))

    def _send_twice(self, sent: Sent) -> None:
        """Send one request to two workers, at the same time or one after the other; each until it is answered."""
        workers = itertools.cycle(sent.request.workers)
        first = threading.Thread(target=self._send_keyed, args=(sent, next(workers)))
        first.start()
        if not sent.request.at_once:
            first.join()
        self._send_keyed(sent, next(workers))
        first.join()

    def _send_keyed(self, sent: Sent, worker: str) -> None:
        headers = {"Idempotency-Key": sent.request.name}
        for _ in range(KEYED_TRIES):
            answer = self._web.ask("request", worker, sent.request.path, headers=headers)
            sent.answers.append(answer)
            if not answer.error or self._stopping.wait(TRY_AGAIN_SECONDS):
                return

    def _follow(self, sent: Sent) -> None:
        """Wait for the answer for a while, at one worker after the other."""
        if sent.redirected_to and not any(answer.is_final for answer in sent.answers):
            sent.answers.extend(follow(self._web, sent.redirected_to, sent.request.workers, PATIENCE_SECONDS))


def follow(web: Web, location: str, workers: Iterable[str], seconds: float) -> Iterator[Answer]:
    """Ask the wait URL until it gives the run's response, or the time is up; yield each answer."""
    deadline = time.monotonic() + seconds
    for worker in itertools.cycle(workers):
        answer = web.ask("wait", worker, location, headers={"Prefer": "wait=2"})
        yield answer
        if answer.is_final or time.monotonic() > deadline:
            return
        location = answer.location or location
        if answer.status != 303:
            time.sleep(TRY_AGAIN_SECONDS)


def tell(web: Web, sent: Sent, over: Callable[[], bool]) -> None:
    """Send the events that a run waits for, each until it is taken or it is *over*; what is not by then stays due."""
    for worker in itertools.cycle(sent.request.workers):
        if not sent.events_due or over():
            return
        events = [_event(sent.request.name, number) for number in sent.events_due[0]]
        answer = web.ask("event", worker, f"/_inngest/e/{EVENT_KEY}", method="POST", json=events)
        sent.answers.append(answer)
        if answer.error:
            time.sleep(TRY_AGAIN_SECONDS)
        else:
            del sent.events_due[0]


def _event(name: str, number: int) -> dict[str, Any]:
    return {"name": EVENT, "id": f"{name}-{number}", "data": {"name": name, "number": number}}
