"""
Bytes that no HTTP library would send, to real servers: broken requests, odd targets, slow and vanishing clients.

What is refused is refused by the server or by us, never by a 500, and the server serves the next request.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from packages.inngest_durable.tests.hostile.doors import EVENTS, LIMITS, Doors
from testkit import colourless
from testkit.servers import ThreadServer
from testkit.waiting import PATIENCE_SECONDS, wait_until

# Not Werkzeug's server, which is for development: it hands on what is no HTTP.
SERVERS = [("quart", 0), ("quart", 1), ("flask", 0)]


class Counter:
    """
    An application behind a real server.

    Attributes:
        doors: The application.
        name: The server's.
    """

    def __init__(self, doors: Doors, server: ThreadServer) -> None:
        self.doors = doors
        self.name = type(server).__name__
        self._port = server.port

    def connect(self) -> socket.socket:
        """Connect to it."""
        return socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_SECONDS)

    def send(self, data: bytes, *, is_cut: bool = False) -> bytes:
        """Send *data*, and the end of the connection where it *is cut*; return all that comes until it is closed."""
        with self.connect() as client:
            try:
                client.sendall(data)
                if is_cut:
                    client.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: client.recv(65536), b""))
            except (ConnectionResetError, BrokenPipeError):
                # It had seen enough.
                return b""

    def status(self, data: bytes, *, is_cut: bool = False) -> int:
        """Return the status of the first answer to *data*; 0 where the server says nothing and closes."""
        line = self.send(data, is_cut=is_cut).partition(b"\r\n")[0].split(b" ")
        return int(line[1]) if len(line) > 1 else 0

    def serves(self) -> bool:
        """Whether the next request is served."""
        return self.status(request(b"GET", b"/plain")) == 200


def request(method: bytes, target: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    """Return the bytes of a request."""
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: test", b"Connection: close", *lines, b"", body])


@pytest.fixture(scope="module", params=SERVERS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def counter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    """Serve the application by each server of each framework in turn."""
    name, index = request.param
    web = colourless.choose(name)
    doors = Doors(tmp_path_factory.mktemp("doors"), shutdown_grace="1s")
    server = web.servers[index](doors.app)
    counter = Counter(doors, server)
    try:
        assert counter.status(ORDER) == 200
        yield counter
    finally:
        server.stop()
        if web.blocks:
            doors.inngest.stop()
        colourless.choose("quart")


ORDER = request(b"POST", b"/order", b"Content-Length: 2", body=b"{}")
LARGE = LIMITS.request_body + 1
REFUSED = {
    "no length and no chunks where a body is sent": request(b"POST", EVENTS.encode(), body=b'{"name":"x"}'),
    "length that is no number": request(b"POST", EVENTS.encode(), b"Content-Length: abc", body=b'{"name":"x"}'),
    "negative length": request(b"POST", EVENTS.encode(), b"Content-Length: -5", body=b'{"name":"x"}'),
    "length of many digits": request(b"POST", EVENTS.encode(), b"Content-Length: " + b"9" * 5000),
    "chunk size that is no number": request(
        b"POST", EVENTS.encode(), b"Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"
    ),
    "chunk shorter than it says": request(
        b"POST", EVENTS.encode(), b"Transfer-Encoding: chunked", body=b"ff\r\n{}\r\n0\r\n\r\n"
    ),
    "chunks that do not end": request(
        b"POST", EVENTS.encode(), b"Transfer-Encoding: chunked", body=b'c\r\n{"name":"x"}\r\n'
    ),
    "body shorter than it says": request(b"POST", EVENTS.encode(), b"Content-Length: 100", body=b'{"name":"x"}'),
    "body over the limit": request(b"POST", EVENTS.encode(), b"Content-Length: %d" % LARGE, body=b" " * LARGE),
    "order over the limit": request(b"POST", b"/order", b"Content-Length: %d" % LARGE, body=b" " * LARGE),
    "order shorter than it says": request(b"POST", b"/order", b"Content-Length: 100", body=b"{}"),
    "order in chunks that do not end": request(b"POST", b"/order", b"Transfer-Encoding: chunked", body=b"2\r\n{}\r\n"),
    "encoding of another kind": request(b"POST", EVENTS.encode(), b"Transfer-Encoding: gzip", body=b"x"),
    "huge header": request(b"GET", b"/_inngest/runs/x/output?token=x", b"X-Large: " + b"x" * 400_000),
    "many headers": request(b"GET", b"/_inngest/runs/x/output?token=x", *[b"X-%d: x" % n for n in range(20_000)]),
    "huge target": request(b"GET", b"/_inngest/runs/" + b"x" * 400_000 + b"/output?token=x"),
    "dots": request(b"GET", b"/_inngest/runs/%2e%2e/%2e%2e/output?token=x"),
    "plain dots": request(b"GET", b"/_inngest/../_inngest/runs/x/output?token=x"),
    "zero byte, quoted": request(b"GET", b"/_inngest/runs/%00/output?token=%00"),
    "zero byte": request(b"GET", b"/_inngest/runs/\0/output?token=x"),
    "slash, quoted": request(b"GET", b"/_inngest/runs/a%2fb/output?token=x"),
    "bytes beyond ASCII": request(b"GET", b"/_inngest/runs/\xff/output?token=\xff"),
    "surrogate, quoted": request(b"GET", b"/_inngest/runs/%ed%a0%80/output?token=%ed%a0%80"),
    "whole URL": request(b"GET", b"http://test/_inngest/runs/x/output?token=x"),
    "whole URL with a user": request(b"GET", b"http://a:b@test:0/_inngest/runs/x/output?token=x"),
    "authority": request(b"GET", b"test:80"),
    "asterisk": request(b"GET", b"*"),
    "no method": request(b"", b"/_inngest/runs/x/output?token=x"),
    "method of odd bytes": request(b"G\xffT", b"/_inngest/runs/x/output?token=x"),
    "unknown method": request(b"BREW", b"/_inngest/runs/x/output?token=x"),
    "TRACE": request(b"TRACE", b"/_inngest/runs/x/output?token=x"),
    "HEAD": request(b"HEAD", b"/_inngest/runs/x/output?token=x"),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    "lines that end in LF alone, cut off": b"GET /_inngest/runs/x/output?token=x HTTP/1.1\n",
}
# Of these the rest would be waited for.
CUT = [
    REFUSED[name]
    for name in (
        "chunk shorter than it says",
        "chunks that do not end",
        "body shorter than it says",
        "order shorter than it says",
        "order in chunks that do not end",
        "no HTTP",
        "lines that end in LF alone, cut off",
    )
]


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_broken_request_is_refused_and_the_next_is_served(counter: Counter, data: bytes) -> None:
    before = counter.doors.counts()
    status = counter.status(data, is_cut=data in CUT)

    # 0: closed without a word. 3xx: a redirect to the tidy path. 501: of servers, to an unknown encoding or method.
    assert status == 0 or 300 <= status < 500 or status == 501, status
    assert counter.doors.counts() == before
    assert counter.serves()


def test_request_that_comes_byte_by_byte_is_taken(counter: Counter) -> None:
    before = counter.doors.counts()
    with counter.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request(b"POST", EVENTS.encode(), b"Content-Length: 14", body=b'{"name":"one"}'):
            client.sendall(bytes((byte,)))
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 200")
    assert counter.doors.counts()[2] == before[2] + 1


@pytest.mark.parametrize("length", [1, 12, 40, len(ORDER) - 1])
def test_connection_that_is_cut_in_a_request_begins_nothing(counter: Counter, length: int) -> None:
    before = counter.doors.counts()
    with counter.connect() as client:
        client.sendall(ORDER[:length])

    assert counter.serves()
    assert counter.doors.counts() == before


def test_client_that_leaves_before_its_answer_loses_no_run(counter: Counter) -> None:
    """The request came in whole, so that its run is begun, and ends."""
    runs = counter.doors.counts()[0]
    for _ in range(5):
        with counter.connect() as client:
            client.sendall(ORDER)
    wait_until(lambda: not counter.doors.unfinished(), "all runs to end")

    assert counter.serves()
    assert runs <= counter.doors.counts()[0] <= runs + 5


def test_broken_form_is_the_frameworks_matter(counter: Counter) -> None:
    """An endpoint that does not read its form does not mind it."""
    body = b'--x\r\nContent-Disposition: form-data; name="a\r\n\r\n--x'
    lines = b"Content-Type: multipart/form-data; boundary=x", b"Content-Length: %d" % len(body)

    assert counter.status(request(b"POST", b"/order", *lines, body=body)) == 200


def test_header_that_looks_like_ours_does_nothing(counter: Counter) -> None:
    """No header re-enters a run, or names one."""
    forged = (b"inngest.pass: x", b"X-Inngest-Run-Id: 01", b"X-Run-Id: 01", b"X-Inngest-Signature: t=1&s=2")
    answer = counter.send(request(b"POST", b"/order", *forged, b"Content-Length: 2", body=b"{}"))

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"x-inngest-run-id: 01\r\n" not in answer.lower()
