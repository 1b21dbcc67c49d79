"""A service that an application calls: it gives the answers that a test wants, and keeps what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from testkit.waiting import PATIENCE_SECONDS, wait_until

# Status, headers, and the body; one in pieces has no declared length, and may be endless.
Answer = tuple[int, dict[str, str], bytes | Iterable[bytes]]

# In place of an answer: the connection is cut, or nothing comes until the test ends.
CUT: Answer = (0, {}, b"")
HELD: Answer = (1, {}, b"")


class ThirdParty:
    """
    A server that gives the answers in its list, the last one again and again, and keeps what it was asked.

    Attributes:
        answers: What it answers, one request after the other.
        asked: Method, path, headers (names in lower case) and body of each request.
        url: Where it is.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = [(200, {"content-type": "application/json"}, b'{"seats": 3}')]
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self._ended = threading.Event()
        party = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                # Chosen first: two requests at the same time get two answers.
                answer = party.answers[min(len(party.asked), len(party.answers) - 1)]
                party.asked.append((self.command, self.path, headers, body))
                # A client that has seen enough closes the connection.
                with suppress(ConnectionError):
                    self._give(*answer)

            def _give(self, status: int, headers: dict[str, str], content: bytes | Iterable[bytes]) -> None:
                if status == HELD[0]:
                    party._ended.wait(PATIENCE_SECONDS)
                if status in (CUT[0], HELD[0]):
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if isinstance(content, bytes):
                    self.send_header("content-length", str(len(content)))
                    content = [content]
                else:
                    self.close_connection = True
                self.end_headers()
                for piece in content:
                    self.wfile.write(piece)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name in the standard library
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def wait_asked(self, times: int) -> None:
        """Return once it was asked so often."""
        wait_until(lambda: len(self.asked) >= times, f"{times} requests")

    def idempotency_keys(self) -> list[str]:
        """Return the idempotency key of each request."""
        return [headers["idempotency-key"] for _, _, headers, _ in self.asked]

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def third_party() -> Iterator[ThirdParty]:
    """Run one until the block ends."""
    with closing(ThirdParty()) as party:
        yield party
