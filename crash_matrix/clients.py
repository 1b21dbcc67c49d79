"""Who asks the application: a client that insists on its answer, and one that sends an event until it is taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from crash_matrix.app import EVENT_KEY
from crash_matrix.crew import Crew, Member
from crash_matrix.patterns import APPROVER
from testkit.waiting import wait_until

# How long anything may take, on a machine that has other work, too.
SECONDS = 60
_BETWEEN_SECONDS = 0.02


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Ask *condition* until its answer is truthy, and return that answer. Raises `TimeoutError`."""
    return wait_until(condition, what, SECONDS)


def get(url: str) -> httpx.Response:
    """GET *url* without following a redirect."""
    return httpx.get(url, timeout=SECONDS, trust_env=False, verify=False)


class Client:
    """
    Sends one request, and asks wherever somebody listens until it has the answer.

    Args:
        crew: Whom to ask.
        first: Whom to ask first.
        path: What for.
        lost: Called when the connection broke before the client knew of a run: returns the path to ask for next.
    """

    def __init__(self, crew: Crew, first: Member, path: str, lost: Callable[[], str]) -> None:
        self._crew = crew
        self._first = first
        self._path = path
        self._lost = lost

    def ask(self) -> httpx.Response:
        """Return the final answer. Raises `TimeoutError`."""
        path, member, is_request = self._path, self._first, True
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                response = get(f"{member.url}{path}")
            except httpx.TransportError:
                time.sleep(_BETWEEN_SECONDS)
                if is_request:
                    path = self._lost()
                    is_request = not path.startswith("/_inngest")
                member = (self._crew.living() or [member])[0]
                continue
            if response.status_code != 303:
                return response
            path, is_request = response.headers["location"], False
        raise TimeoutError(f"no answer to {path} in {SECONDS} s")


def send_approval(crew: Crew, name: str) -> None:
    """Send the event that the run of the request called *name* waits for, until somebody has taken it."""
    event: dict[str, Any] = {"name": f"approved-{name}", "id": f"e-{name}", "data": {"by": APPROVER}}
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for member in crew.living():
            try:
                url = f"{member.url}/_inngest/e/{EVENT_KEY}"
                answer = httpx.post(url, json=event, timeout=SECONDS, trust_env=False, verify=False)
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                return
        time.sleep(_BETWEEN_SECONDS)
    raise TimeoutError(f"nobody took the event in {SECONDS} s")
