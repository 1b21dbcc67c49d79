"""A run's events as a server of its own streams them: those that a test gives, at the pace that it wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Route

# A run with a retry and a kill, as its stream told it.
RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "recordings" / "killed_during_payment.json").read_text()
)


@contextmanager
def streamed(page: Page, events: Sequence[dict[str, Any]], *, per_second: float) -> Iterator[None]:
    """
    Show *page* these events in place of those of the run that it follows, *per_second* of them; then hold the line.

    At the end of the block the connection breaks, and no other one comes about.
    """
    over = threading.Event()

    class Stream(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for event in events:
                if over.wait(1 / per_second):
                    return
                self.wfile.write(f"id: {event['id']}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n".encode())
            over.wait()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    def answer(route: Route) -> None:
        if "event-stream" in route.request.headers.get("accept", ""):
            route.continue_(url=f"http://127.0.0.1:{server.server_port}")
        else:
            route.continue_()

    with ThreadingHTTPServer(("127.0.0.1", 0), Stream) as server:
        threading.Thread(target=server.serve_forever, name="event-stream").start()
        page.route("**/_inngest/runs/**", answer)
        try:
            yield
        finally:
            over.set()
            server.shutdown()
