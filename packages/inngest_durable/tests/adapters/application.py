"""
The application that the scenarios talk to, described once for every framework.

A framework's module (`quart_app`) builds it from the same step functions with the same routes. Steps of an action are
`Outside.act`; ``?fail=N`` makes its first N calls raise. Hooks: before each request its path is recorded in
``Outside(folder / "visits")``; after each response ``X-Hook: <count>`` is added.

    route                      what its handler does
    /plain                     no step; answers "plain"
    /book?fail=                steps reserve, charge (fails), confirm; answers their results as JSON
    /caught                    step charge always fails; step release; answers 402
    /uncaught, /uncaught-at-once
                               step charge always fails, with retries or without; the error leaves the handler
    /handler-fails?times=      step reserve; then the handler itself raises the first times; step confirm
    /breaks, /breaks-at-once   step reserve; then the handler always raises, with retries or without
    /fails-early               the handler raises before any step
    /missing, /missing?steps=1 `abort(404)`, without steps or after step reserve
    /missing-in-step           `abort(404)` inside step look-up, caught as a StepError; answers 409
    /non-retriable             step charge raises NonRetriableError; answers 402
    /retry-after?ms=           step charge fails once with a RetryAfterError
    /parallel?fail=            steps flight, hotel (fails) and car at the same time
    /sleep?ms=, /sleep-until?ms=
                               step before, a pause, step after
    /long-sleep                step before, a pause of an hour
    /kinds/<kind>?fail=        step flaky (fails); answers in the way that `KINDS` lists
    /echo/<tail>               step note (fails once); answers what it saw of the request, recorded at each pass
    /form                      POST: the same for a form with files
    /held                      steps one, two (takes until its gate opens), three
    /held-first                step one takes until its gate opens; step two
    /stream?fail=              step flaky (fails); streams chunks, the second one waits for the gate "stream"
    /stream-breaks?fail=&times=
                               step flaky (fails); streams, the first times with an error after the first chunk
    /leaves-a-step?answer=     no retries: step one; starts step two (takes until its gate opens) and, without waiting
                               for it, answers by `abort(409)` or, with ?answer=error, raises
    /shop/<item>               the same as /book, in a blueprint
    /guarded?times=            step flaky fails once; a before_request hook refuses the first times re-entries with 401
    /marked                    step flaky fails once; answers what a hook left in `g`, at the first pass alone
    /whoami                    answers the session's user
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inngest_durable import EmbeddedEngine, Inngest, RetryPolicy

from testkit.records import database_of

# The first pause is still there when the failed attempt is on disk (`testkit.pauses`): else the step would go on in
# place, and the client would not be redirected. The others are next to nothing.
QUICK = RetryPolicy(max_retries=3, initial="200ms", factor=0.01, jitter=False)

# Ways to answer: each makes a response that must reach a redirected client as it reaches one that was not.
KINDS = (
    *("json", "created", "cookies", "session", "binary", "large", "streamed", "empty", "elsewhere", "links"),
    # Mistakes: the framework answers 500 by itself.
    *("nothing", "broken-hook"),
)
# Beside those: headers of one connection, which are not replayed.
CONNECTION_HEADERS = "connection-headers"
BINARY = bytes(range(256)) * 40
LARGE = b"0123456789abcdef" * 20_000


@dataclass(frozen=True, slots=True)
class Application:
    """One application: the framework's object, and its client."""

    app: Any
    inngest: Inngest


def make_client(adapter: Any, folder: Path) -> Inngest:
    """Return a client on the database of *folder*."""
    return Inngest("scenarios", adapter, EmbeddedEngine(database_of(folder), shutdown_grace="5s"))
