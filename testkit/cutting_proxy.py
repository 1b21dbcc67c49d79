"""A way to a server that breaks: each connection is cut after so many bytes of its answers, in the middle of a line."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# A connection that is closed with this set ends by a reset, without the end of its answer.
_RESET = struct.pack("ii", 1, 0)


class CuttingProxy(socketserver.ThreadingTCPServer):
    """
    Passes connections on to a server of this machine, and cuts them.

    Args:
        server_port: Where the server listens.
        most_bytes: How many bytes of answers a connection gets before it is cut.

    Attributes:
        port: Where the proxy listens.
        cuts: How many connections it has cut.
    """

    daemon_threads = True

    def __init__(self, server_port: int, most_bytes: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.server_port = server_port
        self.most_bytes = most_bytes
        self.port: int = self.server_address[1]
        self.cuts = 0


class _Connection(socketserver.BaseRequestHandler):
    server: CuttingProxy

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.server_port)) as server:
            threading.Thread(target=_copy, args=(self.request, server), name="proxied requests", daemon=True).start()
            left = self.server.most_bytes
            while left and (chunk := server.recv(min(left, 4096))):
                self.request.sendall(chunk)
                left -= len(chunk)
            if not left:
                self.server.cuts += 1
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # The other thread reads from it, which would keep the connection open.
                self.request.shutdown(socket.SHUT_RD)
                self.request.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(4096):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def cutting_proxy(server_port: int, most_bytes: int) -> Iterator[CuttingProxy]:
    """Run a `CuttingProxy` in a thread."""
    with CuttingProxy(server_port, most_bytes) as proxy:
        threading.Thread(target=proxy.serve_forever, name="cutting proxy").start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
